"""A whole evaluation to show: a system beside another, made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mmer.calibration.calibration import Calibration, calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.evaluation.assessment import Comparison, EvaluationSettings, assess, compare_systems
from mmer.evaluation.attention import (
    Explanation,
    Explanations,
    ModalityAttention,
    most_confident_correct,
)
from mmer.evaluation.failures import (
    CoOccurrence,
    Failures,
    by_label_count,
    by_length,
    most_confident_errors,
)
from mmer.evaluation.robustness import Robustness, measure_robustness
from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores

HOSTILE = "<script>alert('x')</script>"


@dataclass(frozen=True)
class Evaluated:
    """What the pages are made of."""

    scores: Scores
    calibration: Calibration
    comparison: Comparison
    failures: Failures
    robustness: Robustness
    explanations: Explanations


@pytest.fixture(scope="session")
def noisy_scores(toy_scores) -> Callable[..., Scores]:
    """Test scores in which the truth shows, more the larger `signal` is."""

    def made(
        samples: int = 60,
        seed: int = 0,
        *,
        signal: float = 0.4,
        truth: np.ndarray | None = None,
        **info: object,
    ) -> Scores:
        rng = np.random.default_rng(seed)
        if truth is None:
            truth = (rng.random((samples, 3)) < 0.4).astype(np.uint8)
        values = signal * truth + (1 - signal) * rng.random(truth.shape)
        told = {"labels": ("happy", "sad", "anger"), **info}
        return toy_scores(values, truth, "test", groups_of=4, **told)

    return made


@pytest.fixture(scope="session")
def evaluated(noisy_scores) -> Callable[..., Evaluated]:
    """Evaluate scores beside those of other systems, under a fixed threshold of 0.5."""

    def made(scores: Scores, *others: Scores, resamples: int = 50) -> Evaluated:
        settings = EvaluationSettings(resamples=resamples, missing_rates=(0.0, 0.5))
        systems = []
        for one in (scores, *others):
            calibration = _calibration(one)
            systems.append((one, calibration, assess(one, calibration, settings)))
        calibration, thresholds = systems[0][1], np.array(systems[0][1].thresholds)
        present = decide(scores.scores, thresholds)
        robustness = measure_robustness(
            lambda shown: scores.scores * shown["words"][:, None],
            scores,
            calibration,
            settings,
            ("words", "face"),
        )
        return Evaluated(
            scores,
            calibration,
            compare_systems(systems, settings),
            Failures(
                model=scores.info.model,
                by_length=by_length(scores, present, np.arange(len(present))),
                by_label_count=by_label_count(scores, present),
                most_confident_errors=most_confident_errors(scores, thresholds, most=2),
                co_occurrence=CoOccurrence(
                    labels=scores.labels,
                    true=scores.truth.astype(int).T @ scores.truth,
                    predicted=present.astype(int).T @ present,
                ),
            ),
            robustness,
            _explanations(scores, thresholds),
        )

    return made


def _calibration(scores: Scores) -> Calibration:
    valid = replace(scores, info=scores.info.model_copy(update={"split": "valid"}))
    return calibrate(valid, CalibrationSettings(method="fixed", fixed=0.5, minimum_positives=5))


def _explanations(scores: Scores, thresholds: np.ndarray) -> Explanations:
    """One example: words with a hostile one among them, and a modality of eight steps."""
    label, n = next(iter(most_confident_correct(scores, thresholds).items()))
    words = ModalityAttention(
        modality="words", weights=((0.8, 0.2), (0.0, 0.0), (0.5, 0.5)), words=("so", HOSTILE)
    )
    steps = tuple(np.arange(8) / 28)
    face = ModalityAttention(modality="face", weights=(steps,) * 3, words=None)
    example = Explanation(
        sample_id=scores.sample_ids[n],
        chosen_for=(label,),
        true=tuple(np.array(scores.labels)[scores.truth[n] > 0]),
        scores=tuple(scores.scores[n]),
        modalities=(words, face),
    )
    return Explanations(model=scores.info.model, labels=scores.labels, examples=(example,))
