"""Probes: the posterior is right, so is the promised score, and each isolates its structure."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import multivariate_normal, norm

from mmer.corpora import CORPORA, probes
from mmer.corpora.probes.between_modalities import AbsentAtRandom, AbsentInBlocks, ExclusiveOr
from mmer.corpora.probes.in_time import Moment, Order
from mmer.corpora.probes.of_labels import CoOccurrence, Dependent
from mmer.corpora.probes.probe import LABELS, MODALITIES, Probe, Shown
from mmer.metrics.counts import micro_f1

NAMES = [name for name, corpus in CORPORA.items() if corpus.family == "probes"]
COUNT = 10_000


def probe(name: str) -> Probe:
    return CORPORA[name].synthetic()


@cache
def drawn(name: str) -> tuple[np.ndarray, Shown, np.ndarray]:
    """Labels of many samples by themselves, what these show, and the posterior."""
    rng, one = np.random.default_rng(7), probe(name)
    labels, shown = one.draw(rng, np.arange(COUNT), "test")
    return labels, shown, one.posterior(shown)


def log_loss(probability: np.ndarray, labels: np.ndarray) -> float:
    return -np.log(np.where(labels, probability, 1 - probability)).mean()


def differences(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """How many standard errors the means of values (N, ...) with and without a label differ by."""
    one, other = (values[label == y].reshape((label == y).sum(), -1) for y in (1, 0))
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    return np.abs(one.mean(axis=0) - other.mean(axis=0)) / np.maximum(error, 1e-12)


def hidden(shown: Shown, modality: int) -> Shown:
    """The same samples without a modality."""
    kept = (np.arange(len(MODALITIES)) != modality)[:, None]
    return Shown(shown.values * kept[..., None], shown.there & kept)


def test_the_overview_names_every_probe() -> None:
    assert len(NAMES) == 11
    for name in NAMES:
        assert f"\n{name} " in probes.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_as_frequent_as_the_posterior_says(name) -> None:
    labels, _, posterior = drawn(name)
    for label in range(len(LABELS)):
        own, truth = posterior[:, label], labels[:, label]
        bins = np.digitize(own, [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
        for number in np.unique(bins):
            inside = bins == number
            error = np.sqrt((own * (1 - own))[inside].sum())
            assert abs(own[inside].sum() - truth[inside].sum()) < 4.5 * error + 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("scale", "shift"), [(0.75, 0), (1.3, 0), (1, 0.3), (1, -0.3)])
def test_no_other_posterior_does_better(name, scale, shift) -> None:
    labels, _, posterior = drawn(name)
    posterior = np.clip(posterior, 1e-12, 1 - 1e-12)
    other = expit(scale * logit(posterior) + shift)
    assert log_loss(posterior, labels) < log_loss(other, labels)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_decisions_reach_what_is_promised(name) -> None:
    """Those are known: present where the probability is above half of the best F1."""
    labels, _, posterior = drawn(name)
    promised = probe(name).bayes_optimal()
    decisions = posterior > promised["micro_f1"] / 2
    rng = np.random.default_rng(1)
    again = rng.integers(COUNT, size=(50, COUNT))
    error = np.std([micro_f1(decisions[rows], labels[rows]) for rows in again])
    assert micro_f1(decisions, labels) == pytest.approx(promised["micro_f1"], abs=3 * error)
    every = micro_f1(np.ones_like(decisions), labels)
    assert every + 0.2 < promised["micro_f1"] < 0.97


def few(one: Probe) -> tuple[Shown, np.ndarray]:
    """A few samples, and their posterior."""
    _, shown = one.draw(np.random.default_rng(3), np.arange(6), "test")
    return shown, one.posterior(shown)


def steps_of(shown: Shown, sample: int, modality: int) -> np.ndarray:
    return shown.values[sample, modality][shown.there[sample, modality]].astype(np.float64)


def density(values: np.ndarray, means: list[np.ndarray]) -> float:
    """Of standard normal noise around one of several means, each as likely."""
    return float(np.mean([np.exp(norm.logpdf(values - mean).sum()) for mean in means]))


def test_one_moment_against_every_step_tried() -> None:
    one = Moment()
    shown, posterior = few(one)
    for sample, label in product(range(6), range(len(LABELS))):
        ratio = 1.0
        for modality in range(len(MODALITIES)):
            values = steps_of(shown, sample, modality)[:, label]
            moments = list(one.strength * np.eye(len(values)))
            spread = np.full(len(values), one.strength / len(values))
            ratio *= density(values, moments) / density(values, [spread])
        expected = expit(logit(one.rates("test")[label]) + np.log(ratio))
        assert posterior[sample, label] == pytest.approx(expected, rel=1e-4)


def test_order_against_every_pair_of_steps_tried() -> None:
    one = Order()
    shown, posterior = few(one)
    for sample, label in product(range(6), range(len(LABELS))):
        ratio = 1.0
        for modality in range(len(MODALITIES)):
            values = steps_of(shown, sample, modality)[:, [label, len(LABELS) + label]]
            means: dict[bool, list[np.ndarray]] = {True: [], False: []}
            for i, j in product(range(len(values)), repeat=2):
                if i != j:
                    mean = np.zeros(values.shape)
                    mean[i, 0] = mean[j, 1] = one.strength
                    means[i < j].append(mean)
            ratio *= density(values, means[True]) / density(values, means[False])
        expected = expit(logit(one.rates("test")[label]) + np.log(ratio))
        assert posterior[sample, label] == pytest.approx(expected, rel=1e-4)


def test_exclusive_or_against_all_bits_tried() -> None:
    one = ExclusiveOr()
    shown, posterior = few(one)
    pairs = [(0, 1), (1, 2), (2, 0), (0, 1)]
    for sample, label in product(range(6), range(len(LABELS))):
        joint = np.zeros(2)
        for bits in product((0, 1), repeat=2):
            densities = [
                density(steps_of(shown, sample, m)[:, label], [np.array(one.strength * bit)])
                for m, bit in zip(pairs[label], bits, strict=True)
            ]
            joint[bits[0] ^ bits[1]] += np.prod(densities)
        assert posterior[sample, label] == pytest.approx(joint[1] / joint.sum(), rel=1e-4)


def test_co_occurrence_against_all_label_sets_tried() -> None:
    one = CoOccurrence()
    shown, posterior = few(one)
    for sample in range(6):
        values = np.stack([steps_of(shown, sample, m) for m in range(len(MODALITIES))])
        joint = {}
        for y in product((0, 1), repeat=len(LABELS)):
            third, fourth = 0.9 if y[0] else 0.05, 0.9 if y[0] and y[1] else 0.05
            prior = 0.25 * (third if y[2] else 1 - third) * (fourth if y[3] else 1 - fourth)
            mean = np.array([*(one.strength * np.array(y[:2])), 0, 0])
            joint[y] = prior * density(values[..., :4], [mean])
        for label in range(len(LABELS)):
            present = sum(p for y, p in joint.items() if y[label])
            expected = present / sum(joint.values())
            assert posterior[sample, label] == pytest.approx(expected, rel=1e-4)


def test_a_shared_shift_against_the_density_of_all_steps_together() -> None:
    one = Dependent()
    shown, posterior = few(one)
    for sample, label in product(range(6), range(len(LABELS))):
        log_ratio = 0.0
        for modality in range(len(MODALITIES)):
            values = steps_of(shown, sample, modality)[:, label]
            together = multivariate_normal(
                np.zeros(len(values)), np.eye(len(values)) + one.spread**2
            )
            log_ratio += together.logpdf(values - one.strength) - together.logpdf(values)
        expected = expit(logit(one.rates("test")[label]) + log_ratio)
        assert posterior[sample, label] == pytest.approx(expected, rel=1e-4)


def test_one_moment_cannot_be_told_from_the_mean_but_from_the_maximum() -> None:
    labels, shown, _ = drawn("probe_moment")
    mean = shown.values.sum(axis=2) / shown.counts[..., None]
    top = np.where(shown.there[..., None], shown.values, -np.inf).max(axis=2)
    for label in range(len(LABELS)):
        assert differences(mean, labels[:, label]).max() < 4.5
        assert differences(mean**2, labels[:, label]).max() < 4.5
        assert differences(top[..., label], labels[:, label]).min() > 20


def test_order_cannot_be_told_from_what_ignores_it() -> None:
    labels, shown, posterior = drawn("probe_order")
    behind = ~shown.there[..., None]
    top = np.where(behind, -np.inf, shown.values).max(axis=2)
    for label in range(len(LABELS)):
        pair = shown.values[..., [label, len(LABELS) + label]]
        both = np.where(behind, -np.inf, pair.min(axis=-1, keepdims=True)).max(axis=2)
        for ignoring in (shown.values.sum(axis=2), top, top**2, both):
            assert differences(ignoring, labels[:, label]).max() < 4.5
        assert differences(posterior[:, label], labels[:, label]).min() > 50


def test_the_other_order_tells_the_opposite() -> None:
    _, shown, _ = drawn("probe_order")
    part = Shown(shown.values[:50], shown.there[:50])
    back = Shown(part.values[:, :, ::-1], part.there[:, :, ::-1])
    one = Order()
    np.testing.assert_allclose(one.log_ratio(back), -one.log_ratio(part), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("modality", range(len(MODALITIES)))
def test_of_an_exclusive_or_one_modality_tells_nothing(modality) -> None:
    labels, shown, _ = drawn("probe_exclusive_or")
    for label in range(len(LABELS)):
        assert differences(shown.sums[:, modality], labels[:, label]).max() < 4.5
    others = [m for m in range(len(MODALITIES)) if m != modality]
    alone = hidden(hidden(shown, others[0]), others[1])
    np.testing.assert_array_equal(ExclusiveOr().posterior(alone), 0.5)


def test_of_each_label_one_modality_tells_and_the_others_do_not() -> None:
    labels, shown, _ = drawn("probe_one_modality")
    telling = [0, 1, 2, 0]
    for label in range(len(LABELS)):
        for modality in range(len(MODALITIES)):
            far = differences(shown.sums[:, modality], labels[:, label]).max()
            assert (far > 50) if modality == telling[label] else (far < 4.5)
        without = probe("probe_one_modality").posterior(hidden(shown, telling[label]))
        np.testing.assert_allclose(without[:, label], 0.3)


def test_labels_without_evidence_are_told_by_others() -> None:
    labels, shown, posterior = drawn("probe_co_occurrence")
    first, second, third, fourth = labels.T.astype(bool)
    assert third[first].mean() == pytest.approx(0.9, abs=0.01)
    assert fourth[first & second].mean() == pytest.approx(0.9, abs=0.015)
    assert fourth[first ^ second].mean() == pytest.approx(0.05, abs=0.01)
    sets = first * 2 + second
    for values in (0, 1, 2, 3):  # given the first two, nothing tells of the others
        rows = sets == values
        assert differences(shown.sums[rows], third[rows]).max() < 4.5
        assert differences(shown.sums[rows], fourth[rows]).max() < 4.5
    assert differences(posterior[:, 3], fourth).min() > 50


def test_modalities_are_absent_at_random_or_from_whole_groups() -> None:
    rng, groups = np.random.default_rng(1), np.arange(8_000) // 4
    at_random = AbsentAtRandom().present(rng, groups)
    in_blocks = AbsentInBlocks().present(rng, groups)
    assert at_random.any(axis=1).all()
    np.testing.assert_allclose(1 - at_random.mean(axis=0), 0.4 - 0.4**3, atol=0.03)
    assert (at_random[::4] != at_random[1::4]).any()
    np.testing.assert_array_equal(in_blocks, in_blocks[::4][groups])
    np.testing.assert_allclose(1 - in_blocks.mean(axis=0), 0.8 / 3, atol=0.03)
    _, shown = AbsentInBlocks().draw(rng, groups, "train")
    assert not shown.values[~shown.there].any()


def test_rates_are_small_or_shift() -> None:
    assert drawn("probe_rare")[0].mean(axis=0) == pytest.approx(0.02, abs=0.004)
    shifted = probe("probe_shift")
    for split, rates in {"train": (0.5, 0.1), "valid": (0.5, 0.1), "test": (0.1, 0.5)}.items():
        labels, _ = shifted.draw(np.random.default_rng(1), np.arange(5_000), split)
        assert labels.mean(axis=0)[[0, 3]] == pytest.approx(rates, abs=0.03)


@pytest.mark.parametrize(("name", "dependent"), [("probe_dependent", True), ("probe_mean", False)])
def test_errors_of_a_group_are_alike_where_samples_depend(name, dependent) -> None:
    one = probe(name)
    labels, shown = one.draw(np.random.default_rng(1), np.arange(16_000) // 8, "test")
    wrong = (labels - one.posterior(shown)).reshape(2_000, 8, -1)
    design_effect = wrong.mean(axis=1).var(axis=0) / (wrong.var(axis=(0, 1)) / 8)
    if dependent:
        assert design_effect.min() > 1.5
    else:
        assert design_effect == pytest.approx(1, abs=0.15)
