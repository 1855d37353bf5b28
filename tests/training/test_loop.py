"""The training loop: it learns, it repeats to the bit, it keeps its best epoch."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, log_loss
from torch import Tensor, nn

from mmer.errors import InputError
from mmer.metrics.counts import micro_f1
from mmer.metrics.decisions import decide
from mmer.samples.batches import Batch, pack
from mmer.training.loop import drop_modalities, input_statistics, train
from mmer.training.network import Losses, Network
from mmer.training.scoring import best_micro_f1, mean_average_precision, score_samples
from mmer.training.settings import OptimiserSettings, TrainingSettings


def quick(**changes: object) -> TrainingSettings:
    rate = changes.pop("learning_rate", 2e-3)
    optimiser = OptimiserSettings(learning_rate=rate)
    return TrainingSettings(
        **{"epochs": 2, "batch_size": 16, "device": "cpu", "optimiser": optimiser, **changes}
    )


@pytest.fixture
def packed(toy_table):
    return pack(toy_table(60)), pack(toy_table(30, seed=1, split="valid"))


def test_it_can_learn_one_batch_by_heart(toy_table, building):
    samples = pack(toy_table(16))
    build = building(samples, dropout=0.0)
    history = train(build, samples, samples, quick(epochs=60, learning_rate=1e-2)).history
    assert history.epochs[-1].losses["total"] < history.epochs[0].losses["total"]
    assert max(epoch.selection for epoch in history.epochs) == 1.0


@pytest.mark.parametrize("batching", ["length_aware", "shuffled"])
def test_the_same_seed_gives_the_same_bits(packed, building, batching):
    build = building(packed[0])
    states = [train(build, *packed, quick(batching=batching)).network.state_dict() for _ in "ab"]
    other = train(build, *packed, quick(batching=batching, seed=2)).network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], other[name]) for name in other)


def test_sizes_that_are_shared_by_threads_repeat_as_well(toy_table, building_carat):
    samples = pack(toy_table(400))
    build = building_carat(samples, hidden=256, feed_forward=64)
    digests = {
        sum(
            hash(x.numpy().tobytes())
            for x in train(build, samples, samples, quick(epochs=1, batch_size=64))
            .network.state_dict()
            .values()
        )
        for _ in range(3)
    }
    assert len(digests) == 1
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_others_draw_at_random_is_left_alone(packed, building_pooled):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(building_pooled(packed[0]), *packed, quick(epochs=1))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("chosen", "criterion"),
    [
        ({"selection": "mean_average_precision"}, "mean average precision"),
        ({"selection": "micro_f1"}, "the best shared threshold"),
        ({"selection": "micro_f1", "selection_threshold": 0.5}, "threshold 0.5"),
    ],
)
def test_the_best_epoch_is_kept(packed, building, chosen, criterion):
    settings = quick(epochs=6, learning_rate=5e-3, **chosen)
    network, history = train(building(packed[0]), *packed, settings)
    figures = [epoch.selection for epoch in history.epochs]
    assert figures[history.kept - 1] == max(figures) > min(figures)
    assert figures == [epoch.validation[settings.selection] for epoch in history.epochs]
    scores, truth = score_samples(network, packed[1]), packed[1].truth
    found = {
        "mean_average_precision": mean_average_precision(scores, truth),
        "micro_f1": best_micro_f1(scores, truth, settings.selection_threshold),
    }
    assert found[settings.selection] == max(figures)
    assert criterion in history.criterion


def test_mean_average_precision_needs_no_threshold_and_no_label_that_nobody_has():
    rng = np.random.default_rng(0)
    scores, truth = rng.random((40, 3)), rng.integers(0, 2, (40, 3))
    truth[:, 1] = 0
    expected = np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in (0, 2)])
    assert mean_average_precision(scores, truth) == pytest.approx(expected)
    assert mean_average_precision(scores**3, truth) == mean_average_precision(scores, truth)
    assert mean_average_precision(scores, truth * 0) == 0


def test_dropped_modalities_leave_every_sample_one_that_it_has(packed):
    batch = packed[0].gather(np.arange(60))
    alone = {"text": np.arange(60) < 20, "visual": np.arange(60) >= 20}
    batch = batch.hide({m: torch.from_numpy(shown) for m, shown in alone.items()})
    there = torch.stack([mask.any(dim=1) for mask in batch.masks.values()])
    shares = []
    for seed in range(50):
        draws = np.random.default_rng(seed).random((3, 60))
        dropped = drop_modalities(batch, 0.4, draws)
        kept = torch.stack([mask.any(dim=1) for mask in dropped.masks.values()])
        assert not (kept & ~there).any()
        assert torch.equal(kept.any(dim=0), there.any(dim=0))
        for m, mask in dropped.masks.items():
            assert not dropped.features[m][~mask].any()
        shares.append((there & ~kept).sum() / there.sum())
    # Of two that are there both would go with 0.16; one of them stays then.
    assert np.mean(shares) == pytest.approx(0.4 - 0.4**2 / 2, abs=0.02)
    again = [drop_modalities(batch, 0.4, draws) for _ in "ab"]
    assert all(torch.equal(again[0].masks[m], again[1].masks[m]) for m in batch.masks)


def test_a_network_learns_to_do_without_a_modality(toy_table, building_pooled):
    samples = pack(toy_table(400))
    hidden = {"text": np.zeros(len(samples), bool)}

    def loss(rate: float) -> float:
        settings = quick(epochs=15, learning_rate=1e-2, modality_dropout=rate)
        network = train(building_pooled(samples, dropout=0.0), samples, samples, settings).network
        return log_loss(samples.truth[:, 0], score_samples(network, samples, hidden)[:, 0])

    assert loss(0.3) < loss(0.0) - 0.05


def test_the_best_shared_threshold_is_never_worse_than_a_fixed_one():
    rng = np.random.default_rng(0)
    scores, truth = rng.random((40, 3)), rng.integers(0, 2, (40, 3))
    fixed = best_micro_f1(scores, truth, 0.5)
    assert fixed == micro_f1(decide(scores, 0.5), truth) < best_micro_f1(scores, truth, None)


class Witness(Network):
    """Writes down what the trainer does with it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[str] = []
        self.train_sizes: list[int] = []
        self.statistics: tuple | None = None

    def losses(self, batch: Batch) -> Losses:
        self.train_sizes.append(len(batch.labels))
        self.seen.append(f"losses at {self.weight.item():.3g}, training: {self.training}")
        return Losses({"total": -self.weight, "extra": torch.tensor(3.0)}, carry=batch.labels)

    def after_step(self, carry: Tensor) -> None:
        assert not torch.is_grad_enabled()
        self.seen.append(f"after step at {self.weight.item():.3g} with {len(carry)}")

    def scores(self, batch: Batch) -> Tensor:
        self.seen.append(f"scores, training: {self.training}")
        return torch.full_like(batch.labels, 0.5)

    def set_input_statistics(self, mean, scale) -> None:
        self.statistics = mean, scale


def test_a_step_is_losses_then_parameters_then_memory(packed):
    settings = quick(epochs=1, batch_size=40, learning_rate=1.0)
    settings = settings.model_copy(
        update={"optimiser": OptimiserSettings(learning_rate=1.0, warmup=0.0, weight_decay=0.0)}
    )
    network, history = train(Witness, *packed, settings)
    first, second = network.train_sizes
    assert {first, second} == {40, 20}
    # without bias correction a first gradient of -1 moves by 0.1 / sqrt(0.001)
    assert network.seen[:3] == [
        "losses at 0, training: True",
        f"after step at 3.16 with {first}",
        "losses at 3.16, training: True",
    ]
    assert network.seen[-1] == "scores, training: False"
    assert history.epochs[0].losses["extra"] == 3.0


def test_statistics_are_those_of_the_training_steps(packed):
    mean, scale = train(Witness, *packed, quick(epochs=1)).network.statistics
    for modality, values in packed[0].values.items():
        np.testing.assert_allclose(mean[modality], values.numpy().mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(scale[modality], values.numpy().std(axis=0), rtol=1e-5)
    assert train(Witness, *packed, quick(epochs=1, standardise=False)).network.statistics is None


def test_a_constant_feature_and_an_empty_modality_are_left_as_they_are(packed):
    samples = packed[0]
    samples.values["text"] = samples.values["text"].index_fill(1, torch.tensor([0]), 7.0)
    samples.values["audio"] = samples.values["audio"][:0]
    mean, scale = input_statistics(samples)
    assert (mean["text"][0], scale["text"][0]) == (7.0, 1.0)
    assert torch.equal(scale["audio"], torch.ones_like(scale["audio"]))


def test_shuffled_batches_do_not_look_at_lengths(packed):
    lengths = packed[0].longest

    def spread(batching: str) -> float:
        network = train(Recorder, *packed, quick(epochs=1, batching=batching)).network
        assert sorted(n for batch in network.lengths for n in batch) == sorted(lengths)
        return float(np.mean([np.std(batch) for batch in network.lengths]))

    assert spread("length_aware") < spread("shuffled") / 2


class Recorder(Witness):
    """Remembers how long the samples of each batch are."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[list[int]] = []

    def losses(self, batch: Batch) -> Losses:
        longest = torch.stack([mask.sum(dim=1) for mask in batch.masks.values()]).amax(dim=0)
        self.lengths.append(longest.tolist())
        return super().losses(batch)


class Constant(Witness):
    """Predicts the first label of everybody, so that its figure tells who is counted."""

    def scores(self, batch: Batch) -> Tensor:
        return torch.eye(batch.labels.shape[1])[0].expand_as(batch.labels)


def test_published_validation_leaves_out_others_in_each_epoch(packed):
    published = quick(
        epochs=8,
        drop_last_validation_batch=True,
        selection="micro_f1",
        selection_threshold=0.5,
        batch_size=16,
    )
    whole = {e.selection for e in train(Constant, *packed, quick(epochs=8)).history.epochs}
    history = train(Constant, *packed, published).history
    assert len(whole) == 1
    assert len({epoch.selection for epoch in history.epochs}) > 1
    assert "last batch" in history.criterion
    # batches of 15 leave nobody of 30 out
    even = published.model_copy(update={"batch_size": 15})
    assert len({e.selection for e in train(Constant, *packed, even).history.epochs}) == 1


def test_without_a_whole_batch_to_validate_on_there_is_nothing_to_keep_an_epoch_by(packed):
    settings = quick(batch_size=31, drop_last_validation_batch=True)
    with pytest.raises(InputError, match=r"toy valid samples.*at least 31"):
        train(Witness, *packed, settings)


def test_a_loss_that_is_no_number_stops_the_run_with_advice(packed, building):
    train_samples, valid_samples = packed
    train_samples.values["text"] = torch.full_like(train_samples.values["text"], torch.inf)
    build = building(train_samples)
    with pytest.raises(InputError, match=r"step 1\].*a finite loss.*lower the learning rate"):
        train(build, train_samples, valid_samples, quick(standardise=False))


def test_every_epoch_is_a_record_with_its_numbers(packed, building_carat, caplog):
    with caplog.at_level(logging.INFO, "mmer.training.progress"):
        history = train(building_carat(packed[0]), *packed, quick()).history
    records = [r for r in caplog.records if r.name == "mmer.training.progress"]
    assert [r.step for r in records] == [1, 2]
    for record, epoch in zip(records, history.epochs, strict=True):
        assert record.metrics == {
            **{f"train/{name}": value for name, value in epoch.losses.items()},
            "valid/mean_average_precision": epoch.selection,
            "valid/micro_f1": epoch.validation["micro_f1"],
            "epoch_seconds": epoch.seconds,
        }
        assert {"train/total", "train/contrast"} <= record.metrics.keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"modality_dropout": 1.0},
        {"selection_share": 0.0},
        {"selection_share": 1.5},
        {"selection_threshold": 1.0},
        {"selection_threshold": 0.5},  # and nothing that it is the threshold of
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_when_training_starts(packed):
    with pytest.raises(InputError, match="a CUDA device"):
        train(Witness, *packed, quick(device="cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_on_the_device(toy_table, building, precision):
    samples = pack(toy_table(64))
    settings = quick(device="cuda", precision=precision, epochs=60, learning_rate=5e-3)
    history = train(building(samples, dropout=0.0), samples, samples, settings).history
    assert max(epoch.selection for epoch in history.epochs) > 0.95


def test_a_network_that_has_gone_astray_after_its_last_step_is_told(packed, building):
    # one step an epoch; the first moves nothing, the second too far
    settings = quick(epochs=2, batch_size=60, learning_rate=1e35)
    with pytest.raises(InputError, match=r"finite scores.*Lower the learning rate"):
        train(building(packed[0]), *packed, settings)
