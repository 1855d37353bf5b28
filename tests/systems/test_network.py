"""What systems that are one network have in common: fitting, and scoring with what was learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer.errors import InputError
from mmer.samples.batches import pack
from mmer.samples.table import write_table
from mmer.systems.carat.settings import CaratSettings
from mmer.systems.carat.system import CaratSystem
from mmer.systems.contract import scored
from mmer.systems.network import NetworkScorer
from mmer.systems.pooled.settings import PooledSettings
from mmer.systems.pooled.system import PooledSystem
from mmer.training.network import Network

CPU = torch.device("cpu")
TRAINING = {"epochs": 2, "batch_size": 16, "device": "cpu"}
SMALL = {
    "hidden": 16,
    "latent": 8,
    "heads": 2,
    "feed_forward": 16,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 128,
    "max_length": 10,
}
POOLED = PooledSystem(), PooledSettings(network={"step_width": 8}, training=TRAINING)
CARAT = CaratSystem(), CaratSettings(network=SMALL, training=TRAINING)


@pytest.fixture
def samples(toy_table):
    return pack(toy_table(60)), pack(toy_table(30, seed=1, split="valid"))


@pytest.fixture(params=[POOLED, CARAT], ids=["pooled", "carat"])
def fitting(request):
    """A system and small settings of it."""
    return request.param


def test_what_was_fitted_says_what_it_is(samples, fitting):
    system, settings = fitting
    fitted, history = system.fit(*samples, settings)
    assert (fitted.info.system, fitted.info.title) == (system.name, system.title)
    assert fitted.info.widths == samples[0].info.widths
    assert fitted.info.kept_epoch == history.kept
    assert fitted.info.seed == settings.training.seed == 1
    again = system.fit(*samples, system.with_seed(settings, 5)).fitted
    info = scored(again, system.scorer(again, CPU), samples[1]).info
    assert (info.seed, info.kept_epoch) == (5, again.info.kept_epoch)
    assert system.settings.model_validate(fitted.info.settings) == settings
    assert fitted.digest == system.fit(*samples, settings).fitted.digest


def test_it_may_lack_what_it_has_learned_to_do_without(fitting, toy_samples, toy_info, tmp_path):
    system, settings = fitting

    def learned(absent: int, **training: object) -> tuple[str, ...]:
        rows = toy_samples(60)
        for row in rows[:absent]:
            row.features["audio"] = None
        train = pack(write_table(tmp_path / f"{absent}.arrow", toy_info, rows))
        changed = settings.training.model_copy(update={"epochs": 1, **training})
        return system.fit(
            train, train, settings.model_copy(update={"training": changed})
        ).fitted.info.may_lack

    assert learned(0) == ()
    assert learned(2) == ()  # too few to learn from
    assert learned(6) == ("audio",)
    assert learned(0, modality_dropout=0.2) == ("text", "visual", "audio")


def test_the_kept_epoch_scores_as_it_did_in_training(samples, fitting):
    system, settings = fitting
    training = settings.training.model_copy(
        update={"selection": "micro_f1", "selection_threshold": 0.5}
    )
    fitted, history = system.fit(*samples, settings.model_copy(update={"training": training}))
    scores = scored(fitted, system.scorer(fitted, CPU), samples[1])
    present = scores.scores > 0.5
    hits = (present & (scores.truth == 1)).sum()
    f1 = 2 * hits / (present.sum() + scores.truth.sum())
    assert f1 == pytest.approx(max(epoch.selection for epoch in history.epochs))


def test_building_a_scorer_draws_no_random_numbers(samples, fitting):
    system, settings = fitting
    fitted = system.fit(*samples, settings).fitted
    before = torch.get_rng_state()
    system.scorer(fitted, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_do_not_depend_on_who_shares_the_batch(samples, fitting):
    system, settings = fitting
    scorer = system.scorer(system.fit(*samples, settings).fitted, CPU)
    together = scorer.scores(samples[1])
    with torch.inference_mode():
        alone = scorer.network.scores(samples[1].gather(np.array([7])))
    np.testing.assert_allclose(together[7], alone[0], rtol=1e-4, atol=1e-6)


def test_a_hidden_modality_counts_as_absent(samples, fitting, toy_samples, tmp_path, toy_info):
    system, settings = fitting
    scorer = system.scorer(system.fit(*samples, settings).fitted, CPU)
    shown = np.ones(30, bool)
    shown[::2] = False
    absent = toy_samples(30, seed=1)
    for sample in absent[::2]:
        sample.features["visual"] = None
    expected = scorer.scores(pack(write_table(tmp_path / "absent.arrow", toy_info, absent)))
    found = scorer.scores(samples[1], {"visual": shown})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found, scorer.scores(samples[1]))


@pytest.mark.parametrize("broken", ["missing", "unknown", "shape", "type"])
def test_arrays_of_another_network_are_refused(samples, broken):
    system, settings = POOLED
    fitted = system.fit(*samples, settings).fitted
    name, first = next(iter(fitted.arrays.items()))
    changed = {
        "missing": {k: x for k, x in fitted.arrays.items() if k != name},
        "unknown": {**fitted.arrays, "more": first},
        "shape": {**fitted.arrays, name: first[:-1]},
        "type": {**fitted.arrays, name: first.double()},
    }[broken]
    with pytest.raises(InputError, match="more" if broken == "unknown" else name):
        system.scorer(replace(fitted, arrays=changed), CPU)


class Looking(Network):
    """Says that each label looks at all steps of a modality alike."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def label_attention(self, batch):
        return {
            m: (mask / mask.sum(dim=1, keepdim=True))[..., None].expand(-1, -1, 3)
            for m, mask in batch.masks.items()
        }


def test_attention_is_cut_to_the_samples_own_lengths(samples):
    index = np.array([4, 0, 2])
    found = NetworkScorer(Looking()).attention(samples[1], index)
    for sample, attention in zip(index, found, strict=True):
        for modality, weights in attention.items():
            length = samples[1].host_lengths[modality][sample]
            np.testing.assert_allclose(weights, np.full((length, 3), 1 / length), rtol=1e-6)


def test_a_network_without_attention_has_none_to_show(samples):
    system, settings = POOLED
    scorer = system.scorer(system.fit(*samples, settings).fitted, CPU)
    assert scorer.attention(samples[1], np.array([0, 1])) == []
