"""Training: a system learns from the training samples and makes its choices on validation."""

from __future__ import annotations

from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.schema import Settings
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem
from mmer.training.history import History


def fit_system(
    train: SampleTable,
    valid: SampleTable,
    settings: Settings,
    system: str,
    seed: int | None = None,
) -> tuple[FittedSystem, History]:
    """The fitted system and how its training went, with this seed if not that of the settings."""
    train.expect("train")
    valid.expect("valid", train.info.fingerprint)
    recipe = SYSTEMS[system]
    if seed is not None:
        settings = recipe.with_seed(settings, seed)
    return recipe.fit(pack(train), pack(valid), settings)
