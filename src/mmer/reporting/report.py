"""One page per run: everything that was measured, in one file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from mmer.calibration.calibration import Calibration
from mmer.corpora.corpus import PublishedScore
from mmer.corpora.data_report import DataReport
from mmer.corpora.split_report import Quantiles
from mmer.errors import InputError
from mmer.evaluation.assessment import Assessment, Comparison, check_model
from mmer.evaluation.attention import Explanations, ModalityAttention
from mmer.evaluation.failures import Failures
from mmer.metrics.intervals import Differences
from mmer.metrics.metrics import HEADLINE
from mmer.reporting.figures import EvaluationFigures, data_figures, label_colours
from mmer.reporting.summary import (
    difference_text,
    groups_unknown,
    interval_text,
    notes_below,
    paired,
    size_text,
    value_text,
)

_TEMPLATE = Path(__file__).with_name("report.html")
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
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "value": value_text,
        "interval": interval_text,
        "difference": difference_text,
        "range": _range,
        "share": _share,
        "shaded": _shaded,
    }
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        zip=zip,
        source=source,
        info=first.info,
        metrics=first.metrics,
        intervals=first.intervals,
        headline=HEADLINE,
        colours=label_colours(first.info.labels),
        plotlyjs=get_plotlyjs(),
        figures=_figure_html(source),
        sentences=[_difference_sentence(one) for one in source.comparison.differences],
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


def _figure_html(source: ReportInput) -> dict[str, str]:
    config = {"displayModeBar": False, "responsive": True}
    options = {"full_html": False, "include_plotlyjs": False, "default_width": "100%"}
    figures = {
        **source.figures._asdict(),
        **data_figures(source.data)._asdict(),
        "learning_curves": source.learning_curves,
    }
    return {
        name: figure.to_html(div_id=f"figure-{name}", config=config, **options)
        for name, figure in figures.items()
    }


def _difference_sentence(found: Differences) -> tuple[str, str]:
    """How the first system stands against another in micro-F1: verdict and sentence."""
    one, name = found.metrics["micro_f1"], HEADLINE["micro_f1"]
    first, second, smallest = found.first, found.second, found.bootstrap.smallest_p_value
    text = {
        "better": f"{first} is better than {second}",
        "worse": f"{first} is worse than {second}",
        "not significant": f"{first} and {second} do not differ significantly",
        "undefined": f"{first} and {second} cannot be compared in {name}.",
    }[one.verdict]
    if one.p_value is not None:
        # at the bootstrap's floor no more is known than that it is that small
        p = f"p ≤ {smallest:.2g}" if one.p_value <= smallest else f"p = {one.p_value:.4f}"
        bounds = f"[{one.low:+.3f}, {one.high:+.3f}]"
        text += f" ({name} {one.difference:+.3f} {bounds}, {p})."
    return one.verdict, text


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
    chosen_on = ", on which the epoch was chosen," if first.info.kept_epoch is not None else ""
    return (
        f"{HEADLINE[calibration.target]} is {chosen.value:.3f} on validation groups that the "
        f"thresholds were not fitted on, and {interval_text(reached)} on {first.info.split}: the "
        f"validation groups{chosen_on} promise {chosen.value - reached.value:+.3f}."
    )


def _range(bounds: tuple[float, float] | None) -> str:
    return " to ".join(f"{value:.3f}" for value in dict.fromkeys(bounds)) if bounds else "—"


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
