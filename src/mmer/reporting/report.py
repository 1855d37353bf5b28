"""One page per run: everything that was measured, in one file that opens without a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from mmer.errors import InputError
from mmer.evaluation.figures import label_colours
from mmer.evaluation.metrics import AVERAGES
from mmer.evaluation.published import CARAT, CAVEATS, published_scores
from mmer.evaluation.summary import HEADLINE, summary_frame, value_text, verdict

FIGURES = (
    "systems",
    "label_f1",
    "precision_recall",
    "reliability",
    "failures",
    "co_occurrence",
    "robustness",
    "learning_curves",
)
_TEMPLATE = Path(__file__).with_name("report.html")
_UNFILLED = "—"
_CONFIG = {"displayModeBar": False, "responsive": True}


@dataclass(frozen=True)
class ReportInput:
    """What a page is made of.

    Attributes:
        corpus: Name of the corpus, "mosei".
        alignment: How its modalities share steps: "word", "utterance" or "none".
        assessed: What `mmer.evaluation.summary.assess` gives, the system of the run first.
        calibration: Record of what was chosen on validation: `weights`, `labels`, `thresholds`,
            `target`, `method`, `reason`, `candidates`, `positives`, `probabilities`, `conformal`,
            `notes`.
        coverage: For each conformal cut of the calibration, what its sets did on the test split.
        figures: Any of `FIGURES` -> figure.
        mistakes: What `mmer.evaluation.failures.surest_mistakes` gives.
        attention: Rows of `mmer.evaluation.attention.attended_words`; empty without words.
        facts: What else the reader should know of the run: name -> text.
    """

    corpus: str
    alignment: str
    assessed: list[dict]
    calibration: dict
    coverage: list[dict]
    figures: dict[str, go.Figure]
    mistakes: list[dict]
    attention: list[dict]
    facts: dict[str, str]


def render_report(source: ReportInput) -> str:
    """The page as HTML, with Plotly inside.

    Raises:
        InputError: The calibration's weights or thresholds are not those of the metrics, a figure
            is not one of `FIGURES`, or coverage is not given for each conformal cut.
    """
    _check(source)
    metrics = source.assessed[0]["metrics"]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["value"] = value_text
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        source=source,
        metrics=metrics,
        plotlyjs=get_plotlyjs(),
        figures=_figure_html(source.figures),
        tiles=_tiles(source.assessed[0]),
        leads=[_lead_sentence(metrics["system"], one) for one in source.assessed[1:]],
        summary=summary_frame(source.assessed).to_dict("records"),
        labels=_label_rows(source),
        averages=_average_rows(metrics),
        target=HEADLINE.get(source.calibration["target"], source.calibration["target"]),
        candidates=_candidates(source.calibration),
        chances=_probability_rows(source.calibration),
        conformal=list(zip(source.calibration["conformal"], source.coverage, strict=True)),
        published=_published_rows(source),
        caveats=CAVEATS,
        citation=CARAT,
        examples=[_shaded(example) for example in source.attention],
        unfilled=_UNFILLED,
    )


def _check(source: ReportInput) -> None:
    metrics, calibration = source.assessed[0]["metrics"], source.calibration
    if calibration["weights"] != metrics["weights"]:
        raise InputError(
            "report",
            "calibration",
            f"thresholds of the weights that were evaluated ({metrics['weights']})",
            calibration["weights"],
        )
    thresholds = list(metrics["thresholds"].values())
    if list(calibration["thresholds"]) != thresholds:
        expected = f"the thresholds that were evaluated, {thresholds}"
        raise InputError("report", "thresholds", expected, calibration["thresholds"])
    if unknown := sorted(set(source.figures) - set(FIGURES)):
        raise InputError("report", "figures", f"some of {', '.join(FIGURES)}", unknown)
    if len(source.coverage) != len(calibration["conformal"]):
        expected = f"one for each of {len(calibration['conformal'])} conformal cuts"
        raise InputError("report", "coverage", expected, len(source.coverage))


def _figure_html(figures: dict[str, go.Figure]) -> dict[str, str]:
    return {
        name: figures[name].to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"figure-{name}",
            config=_CONFIG,
            default_width="100%",
        )
        if name in figures
        else ""
        for name in FIGURES
    }


def _tiles(one: dict) -> list[dict[str, str]]:
    """The headline figures, each with its interval."""
    tiles = []
    for name, title in HEADLINE.items():
        row = one["intervals"]["metrics"][name]
        bounds = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        tiles.append({"title": title, "value": value_text(row["value"]), "bounds": bounds})
    return tiles


def _lead_sentence(system: str, one: dict) -> dict[str, str]:
    """How the first system stands against another in micro-F1."""
    compared, other = one["lead"]["metrics"]["micro_f1"], one["metrics"]["system"]
    given = verdict(compared)
    if given == "undefined":
        return {"verdict": given, "text": f"{system} and {other} cannot be compared in micro-F1."}
    words = {
        "better": f"{system} is ahead of {other}",
        "worse": f"{system} is behind {other}",
        "within noise": f"{system} and {other} cannot be told apart: within noise",
    }
    lead = f"{compared['difference']:+.3f} [{compared['low']:+.3f}, {compared['high']:+.3f}]"
    text = f"{words[given]} (micro-F1 {lead}, p = {compared['p_value']:.4f})."
    return {"verdict": given, "text": text}


def _label_rows(source: ReportInput) -> list[dict]:
    first, calibration = source.assessed[0], source.calibration
    positives = dict(zip(calibration["labels"], calibration["positives"], strict=True))
    colours = label_colours(calibration["labels"])
    rows = []
    for label, row in first["metrics"]["per_label"].items():
        interval = first["intervals"]["per_label_f1"][label]
        rows.append(
            {
                **row,
                "label": label,
                "colour": colours[label],
                "threshold": first["metrics"]["thresholds"][label],
                "positives": positives[label],
                "f1": value_text(row["f1"], interval["low"], interval["high"]),
            }
        )
    return rows


def _average_rows(metrics: dict) -> list[dict]:
    return [
        {
            "average": average,
            **{m: metrics[f"{average}_{m}"] for m in ("precision", "recall", "f1")},
        }
        for average in AVERAGES
    ]


def _candidates(calibration: dict) -> list[dict[str, str]]:
    """The ways of setting thresholds that were compared, one column per field."""
    return [
        {
            name.replace("_", " "): _UNFILLED
            if value is None
            else f"{value:.4g}"
            if isinstance(value, float)
            else str(value)
            for name, value in candidate.items()
        }
        for candidate in calibration["candidates"]
    ]


def _probability_rows(calibration: dict) -> list[dict]:
    rows = []
    for label, chosen in zip(calibration["labels"], calibration["probabilities"], strict=True):
        losses = [f"{name} {loss:.4f}" for name, loss in chosen["log_losses"].items()]
        rows.append(
            {
                "label": label,
                "method": chosen["calibrator"]["method"],
                "log_losses": ", ".join(losses),
                "before": chosen["before"]["expected_calibration_error"],
                "after": chosen["after"]["expected_calibration_error"],
                "note": chosen["note"],
            }
        )
    return rows


def _published_rows(source: ReportInput) -> list[dict[str, str]]:
    """Published figures of this corpus, ours first; empty if there are none."""
    rows = [
        {
            "system": score.system,
            "setting": score.setting,
            "micro_f1": _range(score.micro_f1),
            "accuracy": _range(score.accuracy) if score.accuracy else _UNFILLED,
            "source": score.source,
        }
        for score in published_scores(source.corpus)
    ]
    first = source.assessed[0]
    bounds = first["intervals"]["metrics"]
    ours = {
        name: value_text(first["metrics"][name], bounds[name]["low"], bounds[name]["high"])
        for name in ("micro_f1", "accuracy")
    }
    setting = "unaligned" if source.alignment == "none" else "aligned"
    origin = ", on a SYNTHETIC corpus: not comparable" if first["metrics"]["synthetic"] else ""
    this = {"system": first["metrics"]["system"], "setting": setting, "source": f"this run{origin}"}
    return [{**this, **ours}, *rows] if rows else []


def _range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"


def _shaded(example: dict) -> dict:
    """A sample's words, shaded for each emotion by their share of its largest attention weight."""
    colours = label_colours(list(example["attention"]))
    rows = []
    for label, weights in sorted(
        example["attention"].items(), key=lambda x: -example["scores"][x[0]]
    ):
        largest = max(weights, default=0) or 1
        shades = [f"{colours[label]}{round(200 * weight / largest):02x}" for weight in weights]
        rows.append(
            {
                "label": label,
                "present": label in example["true"],
                "score": example["scores"][label],
                "words": list(zip(example["words"], shades, weights, strict=True)),
            }
        )
    return {"sample_id": example["sample_id"], "rows": rows}
