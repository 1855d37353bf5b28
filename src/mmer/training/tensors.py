"""Tensors as the bytes of a safetensors file, with a header of ours beside them, and their digests.

Nothing in such a file can run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

_KEY = "mmer"  # one key only: safetensors writes several in no fixed order


def packed(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Equal tensors and headers, which JSON can hold, give equal bytes."""
    arrays = {name: x.contiguous() for name, x in tensors.items()}
    return save(arrays, {_KEY: json.dumps(header, sort_keys=True)})


def unpacked(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of what `packed` gave; whatever is damaged provokes any exception."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
    return header, load(content)


def digests(tensors: Mapping[str, Tensor]) -> dict[str, list[object]]:
    """Name -> type, shape, and SHA-256 of the numbers of a tensor on the host."""
    found: dict[str, list[object]] = {}
    for name, x in tensors.items():
        content = hashlib.sha256(x.contiguous().view(-1).view(torch.uint8).numpy().data)
        found[name] = [str(x.dtype), list(x.shape), content.hexdigest()]
    return found
