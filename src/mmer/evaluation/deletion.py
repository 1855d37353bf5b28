"""Whether attention says what matters: do scores fall when the attended steps are taken away?

For every sample in which a label is predicted, the share of its steps to which the label attends
most is taken away, in each modality; and, for comparison, as many steps drawn at random. If
attention points at what the system decides by, the first lowers the label's score by more.
(The deletion test of Samek et al. 2017, "Evaluating the visualization of what a deep neural network
has learned", with one size of deletion.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.failures import check_samples
from mmer.metrics.counts import number_groups
from mmer.metrics.decisions import decide
from mmer.metrics.intervals import Interval, mean_interval
from mmer.metrics.scores import Scores
from mmer.samples.batches import Samples
from mmer.schema import Record
from mmer.terminal import with_bar

SHARE = 0.2
_MOST_SAMPLES = 500
Looks = Mapping[str, np.ndarray]


class Attending(Protocol):
    """A system that scores and tells what each label looks at."""

    def scores(self, samples: Samples) -> np.ndarray:
        """(N, L)."""

    def attention(self, samples: Samples, index: np.ndarray) -> Sequence[Looks]:
        """Of each sample, modality -> (T, L); an empty list if that is not known."""


class LabelDeletion(Record):
    """What taking steps away does to one label's score.

    Attributes:
        samples: Those in which it is predicted, at most 500, drawn at random.
        attended, drawn: Mean fall of the score without the steps attended to most, and without as
            many drawn at random.
        difference: The first fall minus the second, with an interval over groups; None with fewer
            than two groups.
    """

    label: str
    samples: int
    attended: float | None
    drawn: float | None
    difference: Interval | None


class Deletion(Record):
    """The test for each label; none for a system that does not tell what it looks at."""

    share: float = SHARE
    labels: tuple[LabelDeletion, ...] = ()


def measure_deletion(
    system: Attending,
    samples: Samples,
    scores: Scores,
    calibration: Calibration,
    settings: EvaluationSettings,
) -> Deletion:
    """Take away what each label attends to, and as much at random; see the module.

    Raises:
        InputError: The calibration belongs to another model, or the scores to other samples.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    check_samples(scores, samples)
    predicted = decide(scores.scores, np.array(calibration.thresholds))
    rng, rows = np.random.default_rng(settings.seed), []
    chosen = [_some(np.flatnonzero(column), rng) for column in predicted.T]
    every = np.unique(np.concatenate(chosen))
    parts = [every[at : at + _MOST_SAMPLES] for at in range(0, len(every), _MOST_SAMPLES)]
    looks = {
        n: one
        for part in with_bar(parts, "what is attended to")
        for n, one in zip(part, system.attention(samples, part), strict=False)
    }
    if not looks:
        return Deletion()
    labels = list(enumerate(zip(scores.labels, chosen, strict=True)))
    for column, (label, index) in with_bar(labels, "labels without what is attended to"):
        seen = [{m: weights[:, column] for m, weights in looks[n].items()} for n in index]
        falls = _falls(system, samples, scores.scores[index, column], column, index, seen, rng)
        groups = number_groups(tuple(scores.group_ids[n] for n in index))
        rows.append(_row(label, falls, groups, settings))
    return Deletion(labels=tuple(rows))


def _some(index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    few = len(index) <= _MOST_SAMPLES
    return index if few else np.sort(rng.choice(index, _MOST_SAMPLES, replace=False))


def _falls(
    system: Attending,
    samples: Samples,
    before: np.ndarray,
    column: int,
    index: np.ndarray,
    looks: Sequence[Looks],
    rng: np.random.Generator,
) -> np.ndarray:
    """(2, n) fall of one label's score, without the attended steps and without others."""
    if not len(index):
        return np.empty((2, 0))
    chance = [{m: rng.random(len(weights)) for m, weights in one.items()} for one in looks]
    left = [without_steps(samples, index, order) for order in (looks, chance)]
    return np.stack([before - system.scores(one)[:, column] for one in left])


def _row(
    label: str, falls: np.ndarray, groups: np.ndarray, settings: EvaluationSettings
) -> LabelDeletion:
    count, drawn = falls.shape[1], settings.resamples
    attended, at_random = falls.mean(axis=1).tolist() if count else (None, None)
    difference = None
    if count and groups.max() > 0:
        difference = mean_interval(falls[0] - falls[1], groups, resamples=drawn)
    return LabelDeletion(
        label=label, samples=count, attended=attended, drawn=at_random, difference=difference
    )


def without_steps(samples: Samples, index: np.ndarray, weights: Sequence[Looks]) -> Samples:
    """The samples `index`, in each modality without the `SHARE` of its steps of largest weight.

    At least one step is taken away, and one is left.
    """
    left = {
        m: [
            _left(samples.host_lengths[m][n], one.get(m))
            for n, one in zip(index, weights, strict=True)
        ]
        for m in samples.modalities
    }
    return only_steps(samples, index, left)


def only_steps(
    samples: Samples, index: np.ndarray, left: Mapping[str, Sequence[np.ndarray]]
) -> Samples:
    """The samples `index` (n,), each with those of its steps alone that are left, and with all
    that is told of these.

    Args:
        left: Modality -> of each of the n, the positions (T',) of the steps that are left.
    """
    values, lengths, rows = {}, {}, {}
    for modality, steps in left.items():
        starts = samples.starts[modality].cpu().numpy()[index]
        kept = [start + one for start, one in zip(starts, steps, strict=True)]
        rows[modality] = torch.from_numpy(np.concatenate(kept))
        values[modality] = samples.values[modality].cpu()[rows[modality]]
        lengths[modality] = np.array([len(one) for one in kept], np.int64)
    chosen = torch.from_numpy(index)
    return replace(
        samples,
        sample_ids=tuple(samples.sample_ids[n] for n in index),
        group_ids=tuple(samples.group_ids[n] for n in index),
        values=values,
        starts={m: torch.from_numpy(np.cumsum(n) - n) for m, n in lengths.items()},
        lengths={m: torch.from_numpy(n) for m, n in lengths.items()},
        labels=samples.labels.cpu()[chosen],
        host_lengths=lengths,
        target=None if samples.target is None else samples.target.cpu()[chosen],
        step_persons=_of_rows(samples.step_persons, rows),
        step_segments=_of_rows(samples.step_segments, rows),
    )


def _left(steps: int, weights: np.ndarray | None) -> np.ndarray:
    """The steps that are left, in order."""
    if weights is None or steps < 2:
        return np.arange(steps)
    gone = min(max(1, round(SHARE * steps)), steps - 1)
    return np.sort(np.argsort(-weights, kind="stable")[gone:])


def _of_rows(
    columns: dict[str, torch.Tensor] | None, rows: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor] | None:
    return columns and {m: values.cpu()[rows[m]] for m, values in columns.items()}
