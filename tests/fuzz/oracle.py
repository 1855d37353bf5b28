"""What Python's and torch's own unpickling make of a file, to compare the restricted readers with.

Only for files that those have already accepted: this one does run what it is given.
"""

from __future__ import annotations

import argparse
import collections
import pickle
from pathlib import Path

import numpy as np
import torch

_NAMES = {
    "collections": collections,
    "argparse": argparse,
    "numpy": np,
    "numpy.core.multiarray": np._core.multiarray,
    "numpy._core.multiarray": np._core.multiarray,
    "numpy.core.numeric": np._core.numeric,
    "numpy._core.numeric": np._core.numeric,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module in _NAMES:
            return getattr(_NAMES[module], name)
        if (module, name) in (("_codecs", "encode"), ("builtins", "set"), ("builtins", "bytes")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def read_pickles(path: Path) -> list[object]:
    objects = []
    with path.open("rb") as handle:
        while handle.peek(1):
            objects.append(_Unpickler(handle, encoding="latin1").load())
    return objects


def read_torch(path: Path) -> object:
    names = [argparse.Namespace, np._core.multiarray._reconstruct, np._core.multiarray.scalar]
    types = [np.ndarray, np.dtype, *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i8"))]
    with torch.serialization.safe_globals([*names, *types]):
        return torch.load(path, weights_only=True)


def same(ours: object, theirs: object) -> bool:
    """Whether plain data are equal, as the restricted readers give them."""
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.numpy()
    if isinstance(theirs, argparse.Namespace):
        theirs = vars(theirs)
    if isinstance(theirs, np.generic):
        theirs = theirs.item()
    if isinstance(theirs, np.ndarray) and theirs.dtype.kind not in "fiub":
        theirs = theirs.tolist()
    if isinstance(theirs, np.ndarray):
        return isinstance(ours, np.ndarray) and np.array_equal(
            ours, theirs, equal_nan=theirs.dtype.kind == "f"
        )
    if isinstance(theirs, dict):
        return (
            isinstance(ours, dict)
            and list(ours) == list(theirs)
            and all(same(ours[key], theirs[key]) for key in theirs)
        )
    if isinstance(theirs, list | tuple):
        return (
            type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
        )
    return ours == theirs or (ours != ours and theirs != theirs)
