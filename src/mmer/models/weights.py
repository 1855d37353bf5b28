"""A trained model as one file: safetensors whose header says all that is needed to run it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from mmer.errors import InputError
from mmer.models.carat import Carat
from mmer.models.settings import CaratSettings, LossWeights

_KEY = "mmer"  # one key only: safetensors writes several in no fixed order
_SYSTEM = "CARAT"


@dataclass(frozen=True)
class TrainedModel:
    """Weights and what they are the weights of.

    Attributes:
        settings: Sizes and constants of the network.
        widths: Raw features per modality.
        labels: Emotion names, in the order of the scores.
        state: Parameters and buffers by name, on the CPU.
        corpus: What it was trained on.
        synthetic: True if no real recording stands behind that.
        provenance: Where it comes from: digests of data, git commit, run, by name.

    Raises:
        InputError: The state is not that of a network of these sizes.
    """

    settings: CaratSettings
    widths: dict[str, int]
    labels: tuple[str, ...]
    state: dict[str, Tensor]
    corpus: str
    synthetic: bool
    provenance: dict[str, str]

    def __post_init__(self) -> None:
        with torch.device("meta"):
            network = Carat(self.settings, self.widths, len(self.labels))
        _check_state("model weights", self.state, network.state_dict())

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and bytes of the weights, in the order of names."""
        sha = hashlib.sha256()
        for name, tensor in sorted(self.state.items()):
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            sha.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return sha.hexdigest()

    @classmethod
    def from_network(
        cls,
        network: Carat,
        labels: tuple[str, ...],
        corpus: str,
        synthetic: bool,
        provenance: dict[str, str],
    ) -> TrainedModel:
        """A copy of the network as it stands."""
        state = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in network.state_dict().items()
        }
        return cls(
            network.settings, dict(network.widths), labels, state, corpus, synthetic, provenance
        )

    def build(self, device: torch.device | str = "cpu") -> Carat:
        """The network with these weights, for inference; draws no random numbers."""
        with torch.device("meta"):
            network = Carat(self.settings, self.widths, len(self.labels))
        state = {name: tensor.to(device, copy=True) for name, tensor in self.state.items()}
        network.load_state_dict(state, assign=True)
        return network.eval()

    def to_bytes(self) -> bytes:
        """The file's content; the same model gives the same bytes."""
        header = {
            "system": _SYSTEM,
            "settings": asdict(self.settings),
            "widths": self.widths,
            "labels": self.labels,
            "corpus": self.corpus,
            "synthetic": self.synthetic,
            "provenance": self.provenance,
            "digest": self.digest,
        }
        text = json.dumps(header, sort_keys=True)
        sealed = json.dumps({"checksum": _checksum(text), "model": text}, sort_keys=True)
        return save(self.state, metadata={_KEY: sealed})

    @classmethod
    def from_bytes(cls, content: bytes, where: object = "model weights") -> TrainedModel:
        """Read `to_bytes` back.

        Raises:
            InputError: Not such a file, damaged, or of another make.
        """
        try:
            header = _header(content)
            state = load(content)
        except Exception as error:  # whatever a damaged file provokes
            raise InputError(where, "", "weights saved by mmer", error) from error
        if header.get("system") != _SYSTEM:
            raise InputError(where, "system", _SYSTEM, header.get("system"))
        try:
            model = cls(
                settings=_settings(header["settings"]),
                widths=header["widths"],
                labels=tuple(header["labels"]),
                state=state,
                corpus=header["corpus"],
                synthetic=header["synthetic"],
                provenance=header["provenance"],
            )
            digest = header["digest"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(where, "header", "a model's description", repr(error)) from error
        except InputError as error:
            raise InputError(where, error.key, error.expected, error.found) from error
        if model.digest != digest:
            raise InputError(where, "digest", digest, model.digest, "The weights are damaged.")
        return model

    def save(self, path: Path) -> None:
        """Write the file, or on failure leave what was there."""
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(self.to_bytes())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> TrainedModel:
        """Read what `save` wrote.

        Raises:
            InputError: No such file, not a model, damaged.
        """
        if not path.is_file():
            raise InputError(path, "", "saved weights", "no such file")
        return cls.from_bytes(path.read_bytes(), path)


def _header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    sealed = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
    if sealed["checksum"] != _checksum(sealed["model"]):
        raise ValueError("the header is damaged")
    return json.loads(sealed["model"])


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _settings(record: dict[str, Any]) -> CaratSettings:
    return CaratSettings(**{**record, "loss_weights": LossWeights(**record["loss_weights"])})


def _check_state(where: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for problem, names in (
        ("missing", set(expected) - set(state)),
        ("unknown", set(state) - set(expected)),
    ):
        if names:
            raise InputError(where, "", f"no {problem} weights", ", ".join(sorted(names)))
    for name, tensor in state.items():
        kind, found = _kind(expected[name]), _kind(tensor)
        if kind != found:
            raise InputError(where, name, kind, found)


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
