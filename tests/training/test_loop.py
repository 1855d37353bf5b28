"""The training loop: it learns, it repeats to the bit, it keeps its best epoch."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mmer.errors import InputError
from mmer.metrics.counts import micro_f1
from mmer.metrics.decisions import decide
from mmer.samples.batches import Batch, pack
from mmer.training.loop import input_statistics, train
from mmer.training.network import Losses, Network
from mmer.training.scoring import best_micro_f1, score_samples
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


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_the_best_epoch_is_kept(packed, building, threshold):
    settings = quick(epochs=6, learning_rate=5e-3, selection_threshold=threshold)
    network, history = train(building(packed[0]), *packed, settings)
    figures = [epoch.selection for epoch in history.epochs]
    assert figures[history.kept - 1] == max(figures) > min(figures)
    scores = score_samples(network, packed[1])
    assert best_micro_f1(scores, packed[1].truth, threshold) == max(figures)
    assert ("0.5" in history.criterion) == (threshold is not None)


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
        epochs=8, drop_last_validation_batch=True, selection_threshold=0.5, batch_size=16
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
    with pytest.raises(InputError, match=r"finite losses.*Lower the learning rate"):
        train(build, train_samples, valid_samples, quick(standardise=False))


def test_every_epoch_is_a_record_with_its_numbers(packed, building_carat, caplog):
    with caplog.at_level(logging.INFO, "mmer.training.progress"):
        history = train(building_carat(packed[0]), *packed, quick()).history
    records = [r for r in caplog.records if r.name == "mmer.training.progress"]
    assert [r.step for r in records] == [1, 2]
    for record, epoch in zip(records, history.epochs, strict=True):
        assert record.metrics == {
            **{f"train/{name}": value for name, value in epoch.losses.items()},
            "valid/micro_f1": epoch.selection,
            "epoch_seconds": epoch.seconds,
        }
        assert {"train/total", "train/contrast"} <= record.metrics.keys()


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"seed": -1}, {"selection_threshold": 1.0}]
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
