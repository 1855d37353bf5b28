"""The training loop: it learns, it repeats to the bit, it keeps its best epoch."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer.errors import InputError
from mmer.models.carat import CaratSettings
from mmer.samples.batches import pack
from mmer.samples.table import open_table, write_table
from mmer.training.loop import TrainingSettings, train
from mmer.training.optimiser import OptimiserSettings
from mmer.training.scoring import best_micro_f1, score_samples

SMALL = CaratSettings(
    hidden=16,
    latent=8,
    heads=2,
    feed_forward=16,
    layers={"text": 1, "visual": 1, "audio": 1},
    queue=128,
    max_length=10,
)
QUICK = TrainingSettings(
    epochs=2, batch_size=16, device="cpu", optimiser=OptimiserSettings(learning_rate=2e-3)
)
FASTER = OptimiserSettings(learning_rate=5e-3)


@pytest.fixture
def packed(toy_table):
    return pack(toy_table(60)), pack(toy_table(30, seed=1))


def test_it_can_learn_one_batch_by_heart(toy_table):
    samples = pack(toy_table(16))
    carat = replace(SMALL, dropout=0.0)
    result = train(samples, samples, carat, replace(QUICK, epochs=60, optimiser=FASTER))
    assert result.history[-1]["total"] < result.history[0]["total"]
    assert max(record["valid_micro_f1"] for record in result.history) == 1.0


def test_the_same_seed_gives_the_same_bits(packed):
    states = [train(*packed, SMALL, QUICK).network.state_dict() for _ in range(2)]
    other = train(*packed, SMALL, replace(QUICK, seed=2)).network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], other[name]) for name in other)


def test_sizes_that_are_shared_by_threads_repeat_as_well(toy_table):
    samples = pack(toy_table(400))
    carat = replace(SMALL, hidden=256, feed_forward=64)
    settings = replace(QUICK, epochs=1, batch_size=64)
    digests = {
        sum(
            hash(x.numpy().tobytes())
            for x in train(samples, samples, carat, settings).network.state_dict().values()
        )
        for _ in range(3)
    }
    assert len(digests) == 1
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_others_draw_at_random_is_left_alone(packed):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(*packed, SMALL, replace(QUICK, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_is_kept(packed):
    result = train(*packed, SMALL, replace(QUICK, epochs=6, optimiser=FASTER))
    figures = [record["valid_micro_f1"] for record in result.history]
    assert figures[result.best_epoch - 1] == max(figures)
    scores = score_samples(result.network, packed[1])
    assert best_micro_f1(scores, packed[1].labels.numpy(), None) == max(figures)


def test_the_published_selection_looks_at_one_fixed_threshold(packed):
    result = train(*packed, SMALL, replace(QUICK, selection_threshold=0.25))
    scores = score_samples(result.network, packed[1])
    kept = result.history[result.best_epoch - 1]["valid_micro_f1"]
    assert best_micro_f1(scores, packed[1].labels.numpy(), 0.25) == kept


def test_a_loss_that_is_no_number_stops_the_run_with_advice(packed):
    train_samples, valid_samples = packed
    train_samples.values["text"] = torch.full_like(train_samples.values["text"], torch.inf)
    with pytest.raises(InputError, match="a finite loss"):
        train(train_samples, valid_samples, SMALL, replace(QUICK, standardise=False))


def test_every_epoch_is_a_record_with_its_numbers(packed, caplog):
    with caplog.at_level(logging.INFO, "mmer.training.progress"):
        result = train(*packed, SMALL, QUICK)
    records = [r for r in caplog.records if r.name == "mmer.training.progress"]
    assert [r.step for r in records] == [1, 2]
    assert [{"epoch": r.step, **r.metrics} for r in records] == result.history


def test_scores_do_not_depend_on_who_shares_the_batch(packed):
    network = train(*packed, SMALL, QUICK).network
    together = score_samples(network, packed[1])
    batch = packed[1].gather(np.array([7]))
    with torch.inference_mode():
        alone = network.scores(batch.features, batch.masks)
    np.testing.assert_allclose(together[7], alone[0], rtol=1e-4, atol=1e-6)


def test_a_hidden_modality_counts_as_absent(packed, toy_samples, tmp_path, toy_info):
    network = train(*packed, SMALL, QUICK).network
    hidden = np.ones(30, bool)
    hidden[::2] = False
    samples = toy_samples(30, seed=1)
    for sample in samples[::2]:
        sample.features["visual"] = None
    write_table(tmp_path / "absent.arrow", toy_info, samples)
    expected = score_samples(network, pack(open_table(tmp_path / "absent.arrow")))
    found = score_samples(network, packed[1], {"visual": hidden})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_on_the_device(toy_table, precision):
    samples = pack(toy_table(64))
    settings = replace(QUICK, device="cuda", precision=precision, epochs=60, optimiser=FASTER)
    result = train(samples, samples, replace(SMALL, dropout=0.0), settings)
    assert max(record["valid_micro_f1"] for record in result.history) > 0.95
