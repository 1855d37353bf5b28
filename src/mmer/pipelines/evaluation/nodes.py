"""Evaluation: the test samples, looked at once, with everything chosen beforehand."""

from __future__ import annotations

import numpy as np

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import Assessment, EvaluationSettings, assess
from mmer.evaluation.attention import Explanations, explain
from mmer.evaluation.failures import Failures, find_failures
from mmer.evaluation.robustness import Robustness, measure_robustness
from mmer.metrics.scores import Scores
from mmer.pipelines.scoring import score, scorer_of
from mmer.samples.batches import Present, pack
from mmer.samples.table import SampleTable
from mmer.systems.contract import FittedSystem


def score_test(fitted: FittedSystem, test: SampleTable) -> Scores:
    """The system's scores on the test samples."""
    test.expect("test")
    return score(fitted, test)


def assess_system(
    scores: Scores, calibration: Calibration, settings: EvaluationSettings
) -> Assessment:
    """All figures of one system, with intervals."""
    return assess(scores, calibration, settings)


def examine_system(
    fitted: FittedSystem,
    test: SampleTable,
    scores: Scores,
    calibration: Calibration,
    settings: EvaluationSettings,
) -> tuple[Failures, Robustness, Explanations]:
    """Where the system fails, how it does without modalities, and what it attends to."""
    test.expect("test", scores.info.fingerprint)
    fitted.check_gave(scores.info)
    samples, scorer = pack(test), scorer_of(fitted)

    def score_shown(present: Present) -> np.ndarray:
        return scorer.scores(samples, present)

    words = test.arrow()["words"].to_pylist()
    return (
        find_failures(scores, calibration, samples, words, settings),
        measure_robustness(score_shown, scores, calibration, settings, samples.modalities),
        explain(scorer, samples, words, scores, calibration, settings),
    )
