"""Threshold search, whole calibration, and a simulation of automatic against fixed thresholds.

Run with `python benchmarks/thresholds.py`; prints one JSON object. `--draws` sets how many draws
the simulation takes; 0 leaves it out.
"""

from __future__ import annotations

import argparse

import numpy as np
from measure import peak_memory_mb, show, spread, timed
from sklearn.metrics import f1_score
from workload import LABELS, RATES, TEST_SAMPLES, scores_info

from mmer.calibration.calibration import calibrate
from mmer.calibration.selection import select_thresholds
from mmer.calibration.settings import CalibrationSettings
from mmer.calibration.targets import Target
from mmer.calibration.thresholds import label_thresholds, shared_threshold
from mmer.metrics.counts import micro_f1
from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores

SAMPLES_PER_VIDEO = 7
TARGETS = (
    Target("micro_f1"),
    Target("macro_f1"),
    Target("accuracy"),
    Target("recall_at_precision", 0.6),
)
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(rng: np.random.Generator, samples: int, bias: np.ndarray | float = 0.0) -> Drawn:
    """Synthetic scores (N, L), truth (N, L) and videos (N,).

    Labels are as frequent as in CMU-MOSEI and the samples of a video resemble each other. With
    bias 0 a score is the label's probability; else its log-odds are shifted.
    """
    videos = np.arange(samples) // SAMPLES_PER_VIDEO
    odds = np.log(RATES / (1 - RATES)) - 0.4 + 1.3 * rng.normal(size=(samples, len(RATES)))
    odds += 0.5 * rng.normal(size=(videos[-1] + 1, len(RATES)))[videos]
    truth = rng.random(odds.shape) < 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-(odds + bias))), truth.astype(np.uint8), videos


def search(scores: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    """Times of every search, and those of the usual grid of 99 thresholds."""

    def grid() -> float:
        levels = np.arange(0.01, 1, 0.01)
        return max(f1_score(truth, decide(scores, level), average="micro") for level in levels)

    times = {
        f"{target.name}, {name}": spread(timed(lambda s=find, t=target: s(scores, truth, t), 1))
        for target in TARGETS
        for name, find in (("shared", shared_threshold), ("per label", label_thresholds))
    }
    exact = shared_threshold(scores, truth, Target("micro_f1"))
    return {
        "samples": len(scores),
        "labels": len(LABELS),
        "times": times,
        "scikit_learn_grid_of_99": {
            **spread(timed(grid)),
            "micro_f1": grid(),
            "micro_f1_of_exact_search": micro_f1(decide(scores, exact), truth),
        },
    }


def whole_calibration(drawn: Drawn) -> dict[str, float]:
    """Time of thresholds with their cross-fitting, probabilities and a conformal threshold."""
    scores, truth, videos = drawn
    ids, groups = tuple(map(str, range(len(scores)))), tuple(map(str, videos))
    record = Scores(scores_info("valid"), scores, truth, ids, groups)
    return spread(timed(lambda: calibrate(record, CalibrationSettings())))


def automatic_against_fixed(draws: int) -> list[dict[str, object]]:
    """Test micro-F1 of the automatic thresholds less that of the fixed 0.25.

    1,000 validation and 2,000 test samples in each draw.
    """
    shifts = {
        "calibrated scores: nothing to gain": 0.0,
        "all labels too high": 0.6,
        "labels shifted apart": np.array([0.6, -0.6, 0.5, -0.5, 0.7, -0.7]),
    }
    settings, rows = CalibrationSettings(), []
    for name, bias in shifts.items():
        gains, methods = [], []
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            scores, truth, videos = draw(rng, 1000, bias)
            selection = select_thresholds(scores, truth, videos, settings)
            scores, truth, _ = draw(rng, 2000, bias)
            automatic, fixed = (
                micro_f1(decide(scores, thresholds), truth)
                for thresholds in (selection.thresholds, settings.fixed)
            )
            gains.append(automatic - fixed)
            methods.append(selection.chosen.method)
        rows.append(
            {
                "scores": name,
                "draws": draws,
                "share_below_fixed": float(np.mean(np.array(gains) < 0)),
                "mean_gain": float(np.mean(gains)),
                "worst": float(min(gains)),
                "chosen": {m: methods.count(m) for m in ("fixed", "shared", "per_label")},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    drawn = draw(np.random.default_rng(0), TEST_SAMPLES)
    figures = {"search": search(*drawn[:2]), "whole_calibration": whole_calibration(drawn)}
    if draws:
        figures["automatic_against_fixed"] = automatic_against_fixed(draws)
    show("thresholds", **figures, peak_memory_mb=peak_memory_mb())


if __name__ == "__main__":
    main()
