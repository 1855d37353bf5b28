"""Several systems with several seeds: one table, and the page that shows it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.seeds import ComparisonSettings, compare_replicates
from mmer.metrics.seeds import ComparedSystems
from mmer.reporting.seeds import render_seeds, seeds_frame

from .cells import Cell, cells_of


def compare_cells(
    asked: ComparisonSettings, evaluation: EvaluationSettings, *parts: Any, cells: tuple[Cell, ...]
) -> tuple[ComparedSystems, pd.DataFrame]:
    """All systems over all of their seeds, on the same test samples.

    Args:
        asked: Systems and seeds.
        evaluation: Resamples and seed of the bootstrap.
        parts: Test scores and calibration of the first cell, then of the next.
        cells: What the pipeline was made of.

    Raises:
        InputError: The pipeline was made of other cells than are asked for; scores are of another
            cell, or not of the same samples.
    """
    if (expected := cells_of(asked)) != list(cells):
        names = ", ".join(cell.name for cell in expected)
        found = ", ".join(cell.name for cell in cells)
        remedy = "Start the run anew, in a process of its own."
        raise InputError("comparison", "systems and seeds", names, found, remedy)
    for cell, scores in zip(cells, parts[::2], strict=True):
        if (scores.info.system, scores.info.seed) != cell:
            found = f"{scores.info.system} with seed {scores.info.seed}"
            where = f"test scores of {cell.name}"
            raise InputError(where, "model", f"{cell.system} with seed {cell.seed}", found)
    compared = compare_replicates(zip(parts[::2], parts[1::2], strict=True), evaluation)
    return compared, seeds_frame(compared)


def write_comparison(manifest: Manifest, compared: ComparedSystems) -> str:
    """The comparison as a page that opens from disk."""
    return render_seeds(compared, CORPORA[manifest.corpus].title)
