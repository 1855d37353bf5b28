"""Samples of one group resemble each other: intervals over groups are wider than over samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mmer.corpora.m3ed.reader import M3edOptions, read_pkl
from mmer.corpora.m3ed.synthetic import FILE, SyntheticM3ed, write_synthetic
from mmer.corpora.mosei.synthetic.corpus import SyntheticMosei
from mmer.corpora.mosei.synthetic.evidence import draw, label_probabilities
from mmer.metrics.intervals import bootstrap_intervals
from mmer.metrics.resampled import Judged

Drawn = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


def segments(alike: float) -> Drawn:
    """Scores, truth and videos of segments, as the best system scores their cues."""
    rng, videos = np.random.default_rng(3), 70
    drawn = [draw(rng, SyntheticMosei().segments_per_video, alike) for _ in range(videos)]
    truth = np.concatenate([labels for labels, _ in drawn])
    names = np.repeat([f"video{i}" for i in range(videos)], len(truth) // videos)
    return label_probabilities(np.concatenate([c for _, c in drawn])), truth, tuple(names)


@pytest.fixture
def dialogues(tmp_path) -> Callable[[float], Drawn]:
    """Scores, truth and series of dialogues; every label has one score for all."""

    def made(alike: float) -> Drawn:
        sizes = {"train_dialogues": 320, "valid_dialogues": 2, "test_dialogues": 2}
        write_synthetic(tmp_path, SyntheticM3ed(alike=alike, utterances=4, **sizes))
        source = read_pkl(tmp_path / FILE, M3edOptions())
        rows = list(source.read("train", set(source.groups["train"])))[1:]  # the first is long
        truth = np.stack([row.labels for row in rows])
        scores = np.broadcast_to(truth.mean(axis=0), truth.shape).copy()
        return scores, truth, tuple(row.group_id for row in rows)

    return made


def width(toy_scores, drawn: Drawn, *, by_group: bool) -> float:
    """Mean over the labels of the width of F1's interval, where a label is always predicted."""
    scores, truth, groups = drawn
    names = groups if by_group else tuple(map(str, range(len(groups))))
    made = replace(toy_scores(scores, truth), group_ids=names)
    found = bootstrap_intervals(Judged(made, np.zeros(truth.shape[1])), resamples=1000)
    return float(np.mean([one.high - one.low for one in found.label_f1.values()]))


def ratio(toy_scores, drawn: Drawn) -> float:
    """How much wider intervals are over groups than over samples."""
    over = {by: width(toy_scores, drawn, by_group=by) for by in (True, False)}
    return over[True] / over[False]


def test_intervals_over_videos_are_wider_than_over_segments(toy_scores):
    assert ratio(toy_scores, segments(0.0)) == pytest.approx(1, abs=0.15)
    assert ratio(toy_scores, segments(SyntheticMosei().alike)) > 1.25


def test_intervals_over_series_are_wider_than_over_dialogues(toy_scores, dialogues):
    assert ratio(toy_scores, dialogues(0.0)) == pytest.approx(1, abs=0.15)
    assert ratio(toy_scores, dialogues(SyntheticM3ed().alike)) > 1.1
