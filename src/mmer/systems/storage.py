"""A fitted system as one file: safetensors, whose header says all that is needed to run it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from mmer.errors import InputError
from mmer.files import atomic_file
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem, SystemInfo
from mmer.training.tensors import packed, unpacked


def save_fitted(fitted: FittedSystem, path: Path) -> None:
    """Write the file, or on failure leave what was there; equal systems give equal bytes."""
    header = {"digest": fitted.digest, "info": fitted.info.to_json()}
    with atomic_file(path) as partial:
        partial.write_bytes(packed(fitted.arrays, header))


def load_fitted(path: Path) -> FittedSystem:
    """Read what `save_fitted` wrote.

    Raises:
        InputError: No such file, not a fitted system, damaged, or of a system that is not known or
            has other settings. Whether the arrays fit these, its scorer checks.
    """
    try:
        header, arrays = unpacked(path.read_bytes())
        info, expected = SystemInfo.from_json(header["info"], path), header["digest"]
        fitted = FittedSystem(info, arrays)
        found = fitted.digest
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file provokes, assertions of libraries too
        raise InputError(path, "", "a fitted system saved by mmer", repr(error)) from error
    if found != expected:
        raise InputError(path, "digest", str(expected), found, "The file is damaged.")
    if info.system not in SYSTEMS:
        raise InputError(path, "system", f"one of {', '.join(SYSTEMS)}", info.system)
    try:
        SYSTEMS[info.system].settings.model_validate(info.settings)
    except ValidationError as error:
        raise InputError(path, "settings", f"settings of {info.title}", error) from error
    return fitted
