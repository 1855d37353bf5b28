"""A fitted system's scores on a sample table, on the fastest device at hand."""

from __future__ import annotations

import torch

from mmer.metrics.scores import Scores
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem, Scorer, scored


def scorer_of(fitted: FittedSystem) -> Scorer:
    """The system, ready to score."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return SYSTEMS[fitted.info.system].scorer(fitted, device)


def score(fitted: FittedSystem, table: SampleTable) -> Scores:
    """Scores beside the truth, with all that they are of.

    Raises:
        InputError: The system was fitted on other tables.
    """
    return scored(fitted, scorer_of(fitted), pack(table))
