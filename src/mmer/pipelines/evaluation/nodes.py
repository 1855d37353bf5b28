"""Evaluation: the test samples, looked at once, with everything chosen beforehand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import torch

from mmer.calibration.calibration import Calibration
from mmer.calibration.conformal import coverage
from mmer.evaluation import failures as where
from mmer.evaluation import figures
from mmer.evaluation.attention import attended_words, telling_samples
from mmer.evaluation.baselines import Baselines
from mmer.evaluation.modality import by_missing_rate, by_modality_subset
from mmer.evaluation.report import ReportInput, render_report
from mmer.evaluation.summary import assess, summary_frame
from mmer.models.carat import Carat
from mmer.models.weights import TrainedModel
from mmer.samples.batches import PackedSamples, pack
from mmer.samples.scores import Scores
from mmer.samples.table import table_info
from mmer.training.scoring import score_samples, score_table


def score_test(model: TrainedModel, test_samples: pa.Table) -> Scores:
    """CARAT's scores on the test samples."""
    return score_table(model, test_samples, "test")


def assess_systems(
    test_scores: Scores,
    calibration: dict[str, Any],
    baselines: dict[str, Any],
    baseline_calibration: dict[str, dict[str, Any]],
    test_samples: pa.Table,
) -> tuple[list[dict], dict[str, Any], pd.DataFrame]:
    """CARAT beside the baselines: all figures with intervals, CARAT's metrics, the summary.

    Raises:
        InputError: The thresholds belong to other weights.
    """
    thresholds = _thresholds(test_scores, calibration)
    systems = [(test_scores, thresholds)]
    for name, scores in Baselines.from_dict(baselines).scores(test_samples, "test").items():
        systems.append((scores, _thresholds(scores, baseline_calibration[name])))
    assessed = assess(systems)
    return assessed, assessed[0]["metrics"], summary_frame(assessed)


def measure_coverage(test_scores: Scores, calibration: dict[str, Any]) -> list[dict[str, Any]]:
    """What the conformal prediction sets miss on the test samples, for every alpha."""
    chosen = _calibration(test_scores, calibration)
    return [
        asdict(cut)
        | asdict(coverage(test_scores.scores, test_scores.truth, test_scores.group_ids, cut))
        for cut in chosen.conformal
    ]


def examine_failures(
    model: TrainedModel,
    test_samples: pa.Table,
    test_scores: Scores,
    calibration: dict[str, Any],
) -> dict[str, Any]:
    """Where CARAT fails, its surest mistakes, and what it attends to."""
    thresholds = _thresholds(test_scores, calibration)
    samples, network = pack(test_samples), model.build(torch.device("cpu"))

    def score(present: dict[str, np.ndarray]) -> np.ndarray:
        return score_samples(network, samples, present)

    return {
        "by_length": where.by_length(test_scores, thresholds, samples.host_lengths["text"]),
        "by_label_count": where.by_label_count(test_scores, thresholds),
        "surest_mistakes": where.surest_mistakes(test_scores, thresholds),
        "co_occurrence": where.co_occurrence(test_scores, thresholds),
        "by_modality_subset": by_modality_subset(score, test_scores, thresholds),
        "by_missing_rate": by_missing_rate(score, test_scores, thresholds),
        "attention": _attention(network, samples, test_samples["words"], test_scores, thresholds),
    }


def _attention(
    network: Carat,
    samples: PackedSamples,
    spoken: pa.ChunkedArray,
    scores: Scores,
    thresholds: np.ndarray,
) -> list[dict]:
    """What the surest right prediction of each label looked at, where the words are known."""
    examples = []
    for position in dict.fromkeys(telling_samples(scores, thresholds).values()):
        words = spoken[position].as_py()
        if words is None:
            continue
        batch = samples.gather(np.array([position]))
        attention = network.label_attention(batch.features, batch.masks)["text"][0].numpy()
        examples.append(attended_words(scores, position, attention, words))
    return examples


def plot_evaluation(
    test_scores: Scores, calibration: dict[str, Any], assessment: list[dict], failures: dict
) -> dict[str, go.Figure]:
    """The figures of the report, by the names that it knows them by."""
    chosen, synthetic = _calibration(test_scores, calibration), test_scores.synthetic
    bins = {
        label: {"before": asdict(p.before), "after": asdict(p.after)}
        for label, p in zip(chosen.labels, chosen.probabilities, strict=True)
    }
    return {
        "precision_recall": figures.precision_recall(test_scores, np.array(chosen.thresholds)),
        "systems": figures.systems(assessment, synthetic=synthetic),
        "label_f1": figures.label_f1(assessment, synthetic=synthetic),
        "reliability": figures.reliability(bins, synthetic=synthetic),
        "robustness": figures.modality_robustness(
            failures["by_modality_subset"], failures["by_missing_rate"], synthetic=synthetic
        ),
        "co_occurrence": figures.co_occurrence_heatmaps(
            failures["co_occurrence"], synthetic=synthetic
        ),
        "failures": figures.failures(
            failures["by_length"], failures["by_label_count"], synthetic=synthetic
        ),
    }


def write_report(
    test_samples: pa.Table,
    model: TrainedModel,
    calibration: dict[str, Any],
    assessment: list[dict],
    coverage: list[dict[str, Any]],
    failures: dict[str, Any],
    **plots: go.Figure,
) -> str:
    """Everything of the run on one page that opens from disk."""
    info = table_info(test_samples)
    return render_report(
        ReportInput(
            corpus=info.corpus,
            alignment=info.alignment,
            assessed=assessment,
            calibration=calibration,
            coverage=coverage,
            figures={name.removesuffix("_figure"): plot for name, plot in plots.items()},
            mistakes=failures["surest_mistakes"],
            attention=failures["attention"],
            facts={
                "Kept epoch": model.provenance["best_epoch"],
                "Training samples": model.provenance["samples"],
                "Setting": "reference" if model.settings.reference else "default",
            },
        )
    )


def _calibration(scores: Scores, record: dict[str, Any]) -> Calibration:
    calibration = Calibration.from_dict(record)
    calibration.check_weights(scores.weights)
    return calibration


def _thresholds(scores: Scores, record: dict[str, Any]) -> np.ndarray:
    return np.array(_calibration(scores, record).thresholds)
