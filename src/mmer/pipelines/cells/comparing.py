"""What cells say together: one table, and the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest
from mmer.datasets.finished import content_of
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.costs import ComparedCosts
from mmer.evaluation.seeds import AblationSettings, ComparisonSettings, compare_replicates
from mmer.metrics.seeds import ComparedCorpora, ComparedOn, ComparedSystems
from mmer.reporting.ablations import ablations_frame, ablations_latex, render_ablations
from mmer.reporting.corpora import corpora_figure, corpora_frame, corpora_latex, render_corpora
from mmer.reporting.seeds import render_seeds, seeds_frame, seeds_latex
from mmer.systems import SYSTEMS

from .cells import Cell, ablated_cells, compared_cells


def compare_cells(
    asked: ComparisonSettings, evaluation: EvaluationSettings, *parts: Any, cells: tuple[Cell, ...]
) -> tuple[ComparedSystems, ComparedCosts]:
    """All systems over all of their seeds, on the same test samples.

    Args:
        asked: Systems and seeds.
        evaluation: Resamples and seed of the bootstrap.
        parts: Settings of each system in the order in which it first comes; then test scores,
            calibration and receipt of the first cell, then of the next.
        cells: What the pipeline was made of.

    Raises:
        InputError: The pipeline was made of other cells than are asked for; scores are of another
            cell, of other settings, or not of the same samples; a receipt is of other scores.
    """
    _check_asked("comparison", compared_cells(asked), cells)
    systems = list(dict.fromkeys(cell.system for cell in cells))
    settings = dict(zip(systems, parts, strict=False))
    parts = parts[len(systems) :]
    _check_cells(cells, parts[::3], settings)
    for cell, scores, receipt in zip(cells, parts[::3], parts[2::3], strict=True):
        if receipt.content != (content_of(scores),):
            where, remedy = f"receipt of {cell.name}", "Run the evaluation stage again."
            raise InputError(where, "content", "that of its scores", "other scores", remedy)
    compared = compare_replicates(zip(parts[::3], parts[1::3], strict=True), evaluation)
    return compared, ComparedCosts.of(receipt.cost for receipt in parts[2::3])


def write_comparison(
    manifest: Manifest, compared: ComparedSystems, costs: ComparedCosts
) -> tuple[pd.DataFrame, str, str]:
    """The comparison for programs, for a paper, and as a page that opens from disk."""
    corpus = CORPORA[manifest.corpus]
    return (
        seeds_frame(compared, costs),
        seeds_latex(compared, costs),
        render_seeds(compared, corpus.title, costs, corpus.published),
    )


def ablate_cells(
    asked: AblationSettings,
    evaluation: EvaluationSettings,
    *parts: Any,
    corpora: tuple[tuple[str, tuple[Cell, ...]], ...],
) -> ComparedCorpora:
    """Every system beside what is left of it without one part.

    Args:
        asked: Systems, parts and seeds.
        evaluation: Resamples and seed of the bootstrap.
        parts: For every corpus and system its settings, then test scores and calibration of every
            cell.
        corpora: Corpus and the cells of one system on it, for each of them.

    Raises:
        InputError: See `compare_cells`.
    """
    found: list[ComparedOn] = []
    given = iter(parts)
    for corpus, cells in corpora:
        _check_asked("ablation", ablated_cells(asked, corpus).get(cells[0].system, []), cells)
        settings = {cells[0].system: next(given)}
        pairs = [(next(given), next(given)) for _ in cells]
        _check_cells(cells, [scores for scores, _ in pairs], settings)
        compared = compare_replicates(pairs, evaluation, against_first=True)
        found.append(_on(corpus, compared))
    return ComparedCorpora(corpora=tuple(found))


def write_ablations(ablated: ComparedCorpora) -> tuple[pd.DataFrame, str, str]:
    """The ablations for programs, for a paper, and as a page that opens from disk."""
    return ablations_frame(ablated), ablations_latex(ablated), render_ablations(ablated)


def gather_corpora(*compared: ComparedSystems, corpora: tuple[str, ...]) -> ComparedCorpora:
    """Comparisons on several corpora, side by side."""
    pairs = zip(corpora, compared, strict=True)
    return ComparedCorpora(corpora=tuple(_on(name, one) for name, one in pairs))


def _on(corpus: str, compared: ComparedSystems) -> ComparedOn:
    known = CORPORA[corpus]
    return ComparedOn(corpus=known.title, compared=compared, caveat=known.caveat)


def write_corpora(compared: ComparedCorpora) -> tuple[pd.DataFrame, str, go.Figure, str]:
    """The comparisons for programs, for a paper, as a heat map, and as a page."""
    return (
        corpora_frame(compared),
        corpora_latex(compared),
        corpora_figure(compared),
        render_corpora(compared),
    )


def _check_asked(what: str, expected: Sequence[Cell], cells: Sequence[Cell]) -> None:
    if list(expected) != list(cells):
        names = ", ".join(cell.name for cell in expected)
        found = ", ".join(cell.name for cell in cells)
        remedy = "Start the run anew, in a process of its own."
        raise InputError(what, "systems and seeds", names, found, remedy)


def _check_cells(cells: Sequence[Cell], scores: Sequence[Any], settings: Mapping[str, Any]) -> None:
    for cell, one in zip(cells, scores, strict=True):
        found = Cell(one.info.system, one.info.seed, one.info.without)
        if found != cell:
            raise InputError(f"test scores of {cell.name}", "model", cell.name, found.name)
        recipe = SYSTEMS[cell.system]
        expected = recipe.recipe(recipe.settings_without(settings[cell.system], cell.without))
        if one.info.recipe != expected:
            where, remedy = f"test scores of {cell.name}", "Run without --tags, or without them."
            of = "the settings that are asked for"
            raise InputError(where, "settings", of, "others", remedy)
