"""A version of a registered model, fetched and ready to predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmer.evaluation.drift import Reference
from mmer.registry.predictor import REFERENCE, Predictor
from mmer.registry.versions import CHAMPION, fetch


@dataclass(frozen=True)
class RegisteredVersion:
    """A registered model's version.

    Attributes:
        name, number: Of the registered model, and of the version.
        reference: What the model was made with; None of a version that was registered without.
    """

    name: str
    number: str
    predictor: Predictor
    reference: Reference | None


def load_version(
    name: str, which: str = CHAMPION, device: torch.device | None = None
) -> RegisteredVersion:
    """Fetch a version and make it ready; `which` is an alias or a number.

    Raises:
        InputError: There is none, or its files are not those that were registered.
    """
    found, number, fetched = fetch(name, which)
    folder = fetched / "artifacts"
    reference = folder / REFERENCE
    return RegisteredVersion(
        name=found,
        number=number,
        predictor=Predictor.read(folder, device),
        reference=Reference.read(reference) if reference.is_file() else None,
    )
