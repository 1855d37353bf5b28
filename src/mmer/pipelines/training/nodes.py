"""Training: a system learns from the training samples and makes its choices on validation."""

from __future__ import annotations

from pathlib import Path

from mmer.pipelines.fitting import fit
from mmer.samples.table import SampleTable
from mmer.schema import Settings
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem
from mmer.training.checkpoints import CheckpointSettings
from mmer.training.history import History


def fit_system(
    train: SampleTable,
    valid: SampleTable,
    settings: Settings,
    kept: CheckpointSettings,
    folder: Path,
    system: str,
) -> tuple[FittedSystem, History]:
    """The fitted system and how its training went."""
    train.expect("train")
    valid.expect("valid", train.info.fingerprint)
    return fit(SYSTEMS[system], None, train, valid, settings, folder, kept)
