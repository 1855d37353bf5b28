"""One page per run: everything that was measured, in one file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go

from mmer.calibration.calibration import Calibration
from mmer.corpora.corpus import PublishedScore
from mmer.corpora.data_report import DataReport
from mmer.corpora.split_report import Quantiles
from mmer.errors import InputError
from mmer.evaluation.assessment import Assessment, Comparison, check_model
from mmer.evaluation.attention import Explanations, ModalityAttention
from mmer.evaluation.failures import Failures
from mmer.metrics.metrics import HEADLINE
from mmer.reporting.data_figures import data_figures
from mmer.reporting.figures import EvaluationFigures, best_constant, label_colours
from mmer.reporting.pages import rendered
from mmer.reporting.summary import (
    answer_text,
    groups_unknown,
    interval_text,
    listed,
    notes_below,
    paired,
    size_text,
    smallest_p_value,
    value_text,
)

_MOST_STEPS = 5
_FULL_SHADE = 4.0


@dataclass(frozen=True)
class ReportInput:
    """What a page is made of: all of one system, the first of the comparison.

    Attributes:
        corpus: Name of the corpus for readers.
        data: What its sample tables hold.
        published_scores: What others report on the corpus.
        caveats: What to know before comparing with those.
        facts: What else the reader should know of the run: name -> text.
    """

    corpus: str
    data: DataReport
    comparison: Comparison
    calibration: Calibration
    failures: Failures
    explanations: Explanations
    figures: EvaluationFigures
    learning_curves: go.Figure
    published_scores: tuple[PublishedScore, ...] = ()
    caveats: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def render_report(source: ReportInput) -> str:
    """The page as HTML, with Plotly inside.

    Raises:
        InputError: Calibration, failures or explanations belong to another model than the first
            assessment, or its thresholds or conformal thresholds are not the calibration's; the
            data report is of other tables.
    """
    _check(source)
    first, calibration = source.comparison.assessments[0], source.calibration
    return rendered(
        "report.html",
        _figures(source),
        {"share": _share, "shaded": _shaded},
        title=f"{first.info.title} on {source.corpus}",
        synthetic=first.info.synthetic,
        source=source,
        info=first.info,
        metrics=first.metrics,
        intervals=first.intervals,
        headline=HEADLINE,
        colours=label_colours(first.info.labels),
        calibration=calibration,
        question=_question(source),
        chosen=_chosen(source),
        answer=answer_text(source.comparison, bounds=True),
        smallest_p={name: smallest_p_value(source.comparison, name) for name in HEADLINE},
        constants={name: best_constant(source.comparison, name) for name in HEADLINE},
        systems=paired(source.comparison),
        notes=notes_below(source.comparison),
        groups_unknown=groups_unknown,
        size_text=size_text,
        quantities=_quantities(source.data),
        labels=list(
            zip(first.metrics.per_label, first.thresholds, calibration.positives, strict=True)
        ),
        optimism=_optimism(calibration, first),
        target=HEADLINE.get(calibration.target, calibration.target.replace("_", " ")),
        probabilities=list(zip(calibration.labels, calibration.probabilities, strict=True)),
        conformal=list(zip(calibration.conformal, first.coverage, strict=True)),
    )


def _check(source: ReportInput) -> None:
    """See `render_report`."""
    first, calibration = source.comparison.assessments[0], source.calibration
    calibration.check(first.info.model, first.info.fingerprint)
    check_model(
        first.info.model, failures=source.failures.model, explanations=source.explanations.model
    )
    if source.data.info.fingerprint != first.info.fingerprint:
        expected = f"the fingerprint of the tables that were evaluated, {first.info.fingerprint}"
        found, remedy = source.data.info.fingerprint, "Run the alignment stage again."
        raise InputError("data report", "fingerprint", expected, found, remedy)
    if first.thresholds != calibration.thresholds:
        expected = f"the thresholds that were evaluated, {first.thresholds}"
        raise InputError("report", "thresholds", expected, calibration.thresholds)
    if len(first.coverage) != len(calibration.conformal):
        expected = f"one for each of {len(calibration.conformal)} conformal thresholds"
        raise InputError("report", "coverage", expected, len(first.coverage))


def _figures(source: ReportInput) -> dict[str, go.Figure]:
    """What the page draws."""
    return {
        **source.figures._asdict(),
        **data_figures(source.data)._asdict(),
        "learning_curves": source.learning_curves,
    }


def _question(source: ReportInput) -> str:
    """What was asked: which system against which others, on which data."""
    first = source.comparison.assessments[0]
    info, metrics = first.info, first.metrics
    others = [one.second for one in source.comparison.differences]
    against = f"against {listed(others)}" if others else "alone"
    size = size_text(metrics.samples, metrics.groups, info.groups_known)
    synthetic = "SYNTHETIC " if info.synthetic else ""
    return (
        f"Asked was how {info.title} does {against}, on the {info.split} split of {synthetic}"
        f"{source.corpus}: {size}."
    )


def _chosen(source: ReportInput) -> str:
    """What was chosen, and on what."""
    calibration, info = source.calibration, source.comparison.assessments[0].info
    if not calibration.of_metric:
        return f"{info.title} has nothing to choose."
    size = size_text(calibration.samples, calibration.groups, calibration.groups_known)
    epoch = "the epoch, " if info.kept_epoch is not None else ""
    apart = f", the epoch on {info.epoch_groups} other groups" if info.epoch_groups else ""
    return (
        f"Chosen were {epoch}the thresholds for each of {listed(list(HEADLINE.values()))}, and the "
        f"probabilities' calibrators, on validation: {size}{apart}."
    )


def _quantities(data: DataReport) -> list[tuple[str, list[str]]]:
    """What each split holds: a name, and a text for each split."""
    splits = data.splits.values()
    found = [("samples", [f"{one.samples}" for one in splits])]
    groups = [f"{one.groups}" if data.info.groups_known else "unknown" for one in splits]
    found.append(("groups", groups))
    if data.info.persons:
        found.append(("persons", [f"{one.persons}" for one in splits]))
    found += [
        ("labels per sample", [value_text(one.labels_per_sample, 2) for one in splits]),
        ("without any label", [_share(one.without_label, one.samples) for one in splits]),
        ("seconds", [_spread(one.seconds, 1) for one in splits]),
    ]
    for modality in data.info.modalities:
        found.append((f"{modality}: steps", [_spread(one.lengths[modality]) for one in splits]))
        for name, counts in (
            ("absent", [one.missing[modality] for one in splits]),
            ("zero throughout", [one.all_zero[modality] for one in splits]),
        ):
            if any(counts):
                shares = zip(counts, splits, strict=True)
                texts = [_share(count, one.samples) for count, one in shares]
                found.append((f"{modality}: {name}", texts))
    return found


def _share(count: int, samples: int) -> str:
    return f"{count} ({100 * count / samples:.1f}\N{NO-BREAK SPACE}%)"


def _spread(found: Quantiles | None, digits: int = 0) -> str:
    """Median, and what nine of ten lie between."""
    if found is None:
        return "unknown"
    low, median, high = (f"{x:.{digits}f}" for x in (found.q5, found.median, found.q95))
    return f"{median} ({low} to {high})".replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}")


def _optimism(calibration: Calibration, first: Assessment) -> str:
    """How much less the test split gives than validation promised, where the same was measured."""
    chosen = next((c for c in calibration.candidates if c.difference == 0), None)
    reached = first.intervals.metrics.get(calibration.target)
    if chosen is None or reached is None or reached.value is None:
        return ""
    chosen_on = ""
    if first.info.kept_epoch is not None:
        chosen_on = ", where the epoch was chosen on the same groups,"
        if first.info.epoch_groups:
            chosen_on = f", where the epoch was chosen on {first.info.epoch_groups} other groups,"
    bounds = ""
    if reached.low is not None and reached.high is not None:
        bounds = f" [{chosen.value - reached.high:+.3f}, {chosen.value - reached.low:+.3f}]"
    return (
        f"{HEADLINE[calibration.target]} is {chosen.value:.3f} on validation groups that the "
        f"thresholds were not fitted on, and {interval_text(reached)} on {first.info.split}: the "
        f"optimism of validation{chosen_on} is {chosen.value - reached.value:+.3f}{bounds}; the "
        f"interval is that of {first.info.split} alone."
    )


def _shaded(seen: ModalityAttention, label: int, colour: str) -> list[tuple[str, str, float]]:
    """Text, shade and weight of all words, or of those steps with the largest weights.

    Weights are in multiples of what each would be if all weighed alike: 1 has no shade, 4 or more
    the full one.
    """
    weights = np.array(seen.weights[label]) * len(seen.weights[label])
    shades = np.clip((weights - 1) / (_FULL_SHADE - 1), 0, 1)
    names = seen.words or [f"step {t + 1}" for t in range(len(weights))]
    shown = np.argsort(-weights, kind="stable")
    return [
        (names[t], f"{colour}{round(200 * shades[t]):02x}", float(weights[t]))
        for t in sorted(shown if seen.words else shown[:_MOST_STEPS])
    ]
