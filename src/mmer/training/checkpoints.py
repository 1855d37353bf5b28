"""Checkpoints: the whole state of a training in files, so that it can be stopped and gone on with.

A checkpoint is one safetensors file. Its tensors are those of the state, and its header holds the
numbers, a digest of all and what the state was computed with: nothing in it can run. It appears
when it is whole (`mmer.files`). Those of one training lie in a folder named after what decides the
result: tables, settings and code.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from mmer.errors import InputError
from mmer.files import atomic_file
from mmer.provenance import digest
from mmer.schema import Settings
from mmer.training import distributed, tensors
from mmer.training.state import TrainingState

_SUFFIX, _FINISHED = ".safetensors", ".finished.safetensors"
# A checkpoint waits so many times as long as the one before took to write: 2 % of the time at most.
_TIMES_AS_LONG = 50
# Of other trainings under the same name: how many that finished are left in place, and for how long
# those that may still be gone on with.
_FINISHED_KEPT = 3
_SECONDS_KEPT = 30 * 24 * 3600.0

logger = logging.getLogger(__name__)


class CheckpointSettings(Settings):
    """When the state of a training is kept, and what a later run does with it.

    Attributes:
        seconds: Between two checkpoints at least; more if writing them takes more than a fiftieth
            of the time. One is written at the end and when the run is asked to stop, in any case.
        keep: How many of the last ones are kept.
        resume: "auto" goes on from the last one of the same tables, settings and code, if there is
            one; "never" begins anew; "required" does not begin anew.
    """

    seconds: NonNegativeFloat = 60.0
    keep: PositiveInt = 2
    resume: Literal["auto", "never", "required"] = "auto"


class Checkpoints:
    """Those of one training.

    Args:
        folder: Of the trainings that go by one name (a system on a corpus).
        key: Digest of what decides the result.
        settings: When they are written and read.

    Attributes:
        last: The newest file that is known to be whole; None before there is one.
    """

    def __init__(self, folder: Path, key: str, settings: CheckpointSettings) -> None:
        self._folder, self._settings = folder / key[:16], settings
        self.last: Path | None = None
        self._next = time.monotonic() + settings.seconds

    def restore(self, state: TrainingState) -> bool:
        """Become what the newest readable checkpoint was; say whether there was one.

        Of several processes the first reads it, and tells the others.

        Raises:
            InputError: There is none, and `resume` is "required".
        """
        if distributed.size() == 1:
            return self._restore(state)
        found = distributed.is_first() and self._restore(state)
        told = distributed.from_first(_packed(state.state_dict(), {}) if found else None)
        if told is not None and not distributed.is_first():
            header, arrays = _unpacked(told, "the first process")
            state.load_state_dict(_unfolded(header["state"], arrays))
        return told is not None

    def _restore(self, state: TrainingState) -> bool:
        self._clear_others()
        if self._settings.resume == "never":
            shutil.rmtree(self._folder, ignore_errors=True)
            return False
        for path in (*self._folder.glob(f"*{_FINISHED}"), *self._newest_first()):
            content = self._content(path)
            try:
                header, arrays = _unpacked(content, path)
                found, before = _unfolded(header["state"], arrays), header["computed_with"]
                finished = found["finished"]
            except Exception as error:  # whatever a damaged file provokes
                logger.warning("%s cannot be read and is left out: %s", path, error)
                path.unlink()
                continue
            if self._take(state, found, before, finished):
                self.last = path
                return True
        if self._settings.resume == "required":
            expected = "a checkpoint of this training (same tables, settings and code)"
            remedy = "Set checkpoints.resume to auto to begin anew."
            raise InputError(self._folder, "checkpoints.resume", expected, "none", remedy)
        return False

    @property
    def to_go_on_from(self) -> Path | None:
        """The file from which the same command, given again, goes on."""
        return None if self._settings.resume == "never" else self.last

    def _content(self, path: Path) -> bytes:
        """A checkpoint's bytes; an InputError if they cannot be had now, which destroys nothing."""
        try:
            return path.read_bytes()
        except OSError as error:
            expected = "a checkpoint that can be read"
            remedy = "Nothing was removed. Try again, or begin anew with checkpoints.resume=never."
            raise InputError(path, "", expected, error, remedy) from error

    def save_if_due(self, state: TrainingState, *, at_once: bool = False) -> None:
        """Write a checkpoint if the last was long enough ago, or at once."""
        if at_once or time.monotonic() >= self._next:
            self.save(state)

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, but not of a training that has gone astray.

        One that cannot be written is said, and the training goes on. Of several processes, which
        are at the same state, the first writes.
        """
        if not distributed.is_first() or state.has_gone_astray():
            return
        begin = time.monotonic()
        suffix = _FINISHED if state.finished else _SUFFIX
        path = self._folder / f"{len(state.epochs):05d}-{state.step:07d}{suffix}"
        try:
            content = _packed(state.state_dict(), _computed_with(state.device))
            with atomic_file(path) as partial:
                partial.write_bytes(content)
        except OSError as error:
            text = "No checkpoint, the training goes on without: %s. The last whole one: %s"
            logger.warning(text, error, self.last or "none")
        else:
            self.last = path
            for old in self._newest_first()[0 if state.finished else self._settings.keep :]:
                old.unlink(missing_ok=True)
        now = time.monotonic()
        self._next = now + max(self._settings.seconds, _TIMES_AS_LONG * (now - begin))

    def _take(
        self, state: TrainingState, found: dict[str, Any], before: dict[str, str], finished: bool
    ) -> bool:
        """Take up a state; one that is finished only if it could not be others here."""
        now = _computed_with(state.device)
        differs = [
            f"{k} {before.get(k)} -> {here}" for k, here in now.items() if before.get(k) != here
        ]
        means = ", ".join(differs)
        if differs and finished:
            text = (
                "A training that finished with other means (%s) is done again: its bits may differ"
            )
            logger.warning(text, means)
            return False
        state.load_state_dict(found)
        if differs:
            logger.warning(
                "It goes on with other means, and may differ in its last bits: %s", means
            )
        return True

    def _newest_first(self) -> list[Path]:
        """Those of a training that is under way."""
        files = self._folder.glob(f"*{_SUFFIX}")
        return sorted((f for f in files if not f.name.endswith(_FINISHED)), reverse=True)

    def _clear_others(self) -> None:
        """Keep the newest of other trainings under this name, and what may be gone on with."""
        others = [f for f in self._folder.parent.glob("*/") if re.fullmatch("[0-9a-f]{16}", f.name)]
        others = [f for f in others if f.name != self._folder.name]
        finished = [f for f in others if any(f.glob(f"*{_FINISHED}"))]
        too_many = sorted(finished, key=_last_change, reverse=True)[_FINISHED_KEPT:]
        old = time.time() - _SECONDS_KEPT
        for folder in [*too_many, *(f for f in others if _last_change(f) < old)]:
            logger.info("Checkpoints of an earlier training are removed: %s", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _packed(state: dict[str, Any], computed_with: dict[str, str]) -> bytes:
    arrays: dict[str, Tensor] = {}
    plain = _folded(state, "", arrays)
    content = {"state": plain, "computed_with": computed_with}
    return tensors.packed(arrays, {**content, "digest": _digest(content, arrays)})


def _unpacked(content: bytes, where: object) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header, arrays = tensors.unpacked(content)
    expected = header.pop("digest")
    if (found := _digest(header, arrays)) != expected:
        raise InputError(where, "digest", expected, found)
    return header, arrays


def _digest(content: dict[str, Any], arrays: dict[str, Tensor]) -> str:
    return digest({"content": content, "tensors": tensors.digests(arrays)})


def _folded(value: Any, name: str, arrays: dict[str, Tensor]) -> Any:
    """What JSON can hold of it; each tensor goes, on the host, under the name of its place."""
    if isinstance(value, Tensor):
        arrays[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[k, _folded(x, f"{name}/{k}", arrays)] for k, x in value.items()]}
    if isinstance(value, list | tuple):
        return [_folded(x, f"{name}/{k}", arrays) for k, x in enumerate(value)]
    return value


def _unfolded(value: Any, arrays: dict[str, Tensor]) -> Any:
    """The inverse of `_folded`; tuples come back as lists."""
    if isinstance(value, list):
        return [_unfolded(x, arrays) for x in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return arrays[value["tensor"]]
    return {k: _unfolded(x, arrays) for k, x in value["items"]}


def _computed_with(device: torch.device) -> dict[str, str]:
    """What the last bits depend on besides tables, settings and code."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": name,
        "processes": str(distributed.size()),
        "threads": str(torch.get_num_threads()),
        "torch": version("torch"),
    }


def _last_change(folder: Path) -> float:
    return max(_times(folder), default=0.0)


def _times(folder: Path) -> Iterator[float]:
    for path in (folder, *folder.glob("*")):
        try:
            yield path.stat().st_mtime
        except OSError:  # another run has just removed it
            continue
