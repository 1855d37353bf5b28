"""What stands in the place of absent modalities: learned, of training alone, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from mmer.samples.batches import Batch, Samples, StepPersons, pack
from mmer.training.absent import (
    FilledNetwork,
    PrototypeFill,
    TokenFill,
    filled,
    held_out_log_ratios,
    mean_steps,
)
from mmer.training.checkpoints import Checkpoints, CheckpointSettings
from mmer.training.loop import finish_epoch, input_statistics, repeatable, start, take_step, train
from mmer.training.network import Network
from mmer.training.progress import EpochProgress
from mmer.training.scoring import score_samples
from mmer.training.settings import AbsentSettings, OptimiserSettings, TrainingSettings

CPU = torch.device("cpu")
FILLS = ("token", "prototypes")
ABSENT = ("text", "visual", "audio")


def quick(fill: str = "mask", **changes: object) -> TrainingSettings:
    given = {"epochs": 2, "batch_size": 16, "device": "cpu", "modality_dropout": 0.3, **changes}
    absent = AbsentSettings(fill=fill)
    optimiser = OptimiserSettings(learning_rate=given.pop("learning_rate", 5e-3))
    return TrainingSettings.model_validate({"optimiser": optimiser, "absent": absent, **given})


@pytest.fixture
def packed(toy_table) -> Samples:
    return pack(toy_table(60))


@pytest.fixture(params=FILLS)
def fill(request, packed) -> TokenFill:
    """One that has learned of the training samples."""
    torch.manual_seed(0)
    widths, labels = packed.info.widths, len(packed.info.labels)
    made = PrototypeFill(widths, labels) if request.param == "prototypes" else TokenFill(widths)
    made.learn_from(packed, *input_statistics(packed))
    return made


def hidden(batch: Batch, count: int = 6) -> tuple[Batch, dict[str, Tensor]]:
    """Each modality hidden from `count` samples in turn, the others left with all."""
    place = torch.arange(len(batch.labels))
    shown = {m: (place // count) != n for n, m in enumerate(ABSENT)}
    return batch.hide(shown), shown


def test_what_is_there_is_not_touched_and_what_is_not_gets_one_step(packed, fill):
    batch, shown = hidden(packed.gather(np.arange(30)))
    out = fill(batch)
    assert torch.equal(out.labels, batch.labels)
    for m, there in shown.items():
        assert torch.equal(out.features[m][there], batch.features[m][there])
        assert torch.equal(out.masks[m][there], batch.masks[m][there])
        assert (out.masks[m][~there].sum(dim=1) == 1).all()
        assert out.masks[m][~there][:, 0].all()
        assert out.features[m][~there][:, 0].abs().sum(dim=1).min() > 0
        assert not out.features[m][~there][:, 1:].any()


def test_the_step_does_not_depend_on_what_was_hidden_or_on_padding(packed, fill):
    batch = packed.gather(np.arange(30))
    less, shown = hidden(batch)
    noise = {m: x + torch.randn_like(x) for m, x in batch.features.items()}
    other = {
        m: torch.where(s[:, None, None], batch.features[m], noise[m]) for m, s in shown.items()
    }
    found, _ = hidden(replace(batch, features=other))
    padded = {m: torch.where(less.masks[m][..., None], x, 7.0) for m, x in less.features.items()}
    for changed in (found, replace(less, features=padded)):
        for m, there in shown.items():
            steps = (fill(b).features[m][~there][:, 0] for b in (less, changed))
            torch.testing.assert_close(*steps)


def test_the_token_is_in_the_units_of_the_features(packed):
    packed.values["text"] = packed.values["text"] * 1000 + 5000
    fill = TokenFill(packed.info.widths)
    fill.learn_from(packed, *input_statistics(packed))
    step = fill.steps(packed.gather(np.arange(2)))["text"]
    values = packed.values["text"]
    z = (step - values.mean(dim=0)) / values.std(dim=0)
    torch.testing.assert_close(z, fill.tokens["text"].vector, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", FILLS)
def test_the_gradient_reaches_the_token_of_what_is_absent_alone(packed, building, kind):
    state = start(building(packed), packed, quick(kind))
    network = state.network.train()
    assert isinstance(network, FilledNetwork)
    batch = packed.gather(np.arange(16))
    shown = {"audio": torch.arange(16) % 2 == 0}
    network.losses(batch.hide(shown)).terms["total"].backward()
    gradients = {m: token.vector.grad for m, token in network.fill.tokens.items()}
    assert gradients["audio"].abs().max() > 0
    assert not any(gradients[m].any() for m in ("text", "visual"))


@pytest.mark.parametrize("kind", FILLS)
def test_what_was_absent_and_is_changed_has_no_influence(packed, building, kind):
    network = start(building(packed), packed, quick(kind)).network
    absent = {"visual": np.zeros(len(packed), bool)}
    before = score_samples(network, packed, absent)
    values = {**packed.values, "visual": torch.randn_like(packed.values["visual"])}
    changed = replace(packed, values=values)
    np.testing.assert_array_equal(score_samples(network, changed, absent), before)
    assert np.abs(score_samples(network, changed) - score_samples(network, packed)).max() > 1e-4


def test_without_a_fill_nothing_is_another(packed, building):
    """Same parameters under the same names, as if the settings knew of no absences."""
    build = building(packed)
    assert filled(network := build(), AbsentSettings(), {}, 3) is network
    assert "absent" not in TrainingSettings().model_dump()
    assert "absent" in quick("token").model_dump()
    with repeatable(CPU):
        torch.manual_seed(1)
        bare = build().state_dict()
        state = start(build, packed, quick(standardise=False)).network.state_dict()
    assert bare.keys() == state.keys()
    assert all(torch.equal(bare[name], x) for name, x in state.items())


@pytest.mark.parametrize("kind", FILLS)
def test_the_network_inside_begins_as_it_would_without(packed, building, kind):
    with repeatable(CPU):
        without = start(building(packed), packed, quick()).network.state_dict()
        within = start(building(packed), packed, quick(kind)).network.state_dict()
    for name, expected in without.items():
        assert torch.equal(within[f"network.{name}"], expected)


def test_prototypes_say_what_labels_the_present_modalities_tell_of(toy_table):
    """Label k raises a feature of modality k alone: its absence leaves label k at its rate."""
    packed = pack(toy_table(200))
    fill = PrototypeFill(packed.info.widths, 3)
    fill.learn_from(packed, *input_statistics(packed))
    batch = packed.gather(np.arange(200))
    truth = packed.truth
    for k, m in enumerate(ABSENT):
        told = fill.probabilities(batch)[:, k].numpy()
        assert told[truth[:, k] == 1].mean() > told[truth[:, k] == 0].mean() + 0.3
        less = batch.hide({m: torch.zeros(200, dtype=torch.bool)})
        untold = fill.probabilities(less)[:, k].numpy()
        assert abs(untold[truth[:, k] == 1].mean() - untold[truth[:, k] == 0].mean()) < 0.1


def test_prototypes_put_an_absent_modality_where_its_labels_would():
    """Two modalities that both tell of the labels: one absent is moved as the other says."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (400, 2)).astype(np.float32)
    samples = made(labels, {m: labels @ turn + rng.normal(0, 0.3, (400, 3)) for m, turn in TURNS})
    fill = PrototypeFill({"one": 3, "other": 3}, 2)
    mean, scale = input_statistics(samples)
    fill.learn_from(samples, mean, scale)
    batch = samples.gather(np.arange(400)).hide({"other": torch.zeros(400, dtype=torch.bool)})
    moved = fill.steps(batch)["other"] - (mean["other"] + scale["other"] * token_of(fill))
    expected = (labels - labels.mean(axis=0)) @ dict(TURNS)["other"]
    assert np.corrcoef(moved.detach().numpy().ravel(), expected.ravel())[0, 1] > 0.95
    np.testing.assert_allclose(moved.detach(), expected, atol=1.0)


TURNS = (
    ("one", np.array([[2.0, 0, 1], [0, -2, 0]], np.float32)),
    ("other", np.array([[0, 1.5, 0], [1, 0, 2]], np.float32)),
)


def token_of(fill: PrototypeFill) -> Tensor:
    return fill.tokens["other"].vector.detach()


def made(labels: np.ndarray, steps: dict[str, np.ndarray]) -> Samples:
    """Samples of one step."""
    from mmer.samples.batches import samples_of
    from mmer.samples.table import Features, TableInfo

    info = TableInfo(
        corpus="made",
        split="train",
        labels=("a", "b"),
        features={m: Features(name=m, width=x.shape[1]) for m, x in steps.items()},
        alignment="none",
        synthetic=True,
        fingerprint="made",
    )
    rows = {m: [row[None].astype(np.float32) for row in x] for m, x in steps.items()}
    samples = samples_of(info, rows, tuple(map(str, range(len(labels)))))
    return replace(samples, labels=torch.from_numpy(labels))


def noise(groups: int, copies: int, width: int, seed: int = 0) -> Samples:
    """Features that tell nothing; the samples of a group are all but the same, labels included."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 2, (groups, 2)), copies, axis=0).astype(np.float32)
    drawn = {m: np.repeat(rng.normal(size=(groups, width)), copies, axis=0) for m, _ in TURNS}
    steps = {m: x + rng.normal(0, 0.01, x.shape) for m, x in drawn.items()}
    names = tuple(f"group {n}" for n in range(groups) for _ in range(copies))
    return replace(made(labels, steps), group_ids=names)


def test_in_training_a_step_does_not_give_away_the_samples_own_labels(building_pooled, monkeypatch):
    """Of noise: neither in the losses nor in what distillation asks, by fits on other groups."""
    samples, told = noise(60, 4, 100), []
    settings = quick("prototypes", absent={"fill": "prototypes", "distillation": 0.5})
    probabilities = PrototypeFill.probabilities

    def watched(fill, batch):
        found = probabilities(fill, batch)
        told.append((batch.labels, found.detach()))
        return found

    with repeatable(CPU):
        state = start(building_pooled(samples), samples, settings)
        with EpochProgress(state.total_steps, settings.epochs) as progress:
            figures = {"mean_average_precision": 0.0, "micro_f1": 0.0}
            monkeypatch.setattr("mmer.training.loop._validate", lambda *_: figures)
            monkeypatch.setattr(PrototypeFill, "probabilities", watched)
            finish_epoch(state, samples, samples, settings, progress)
    assert len(told) == 3 * state.steps_per_epoch
    labels, found = (torch.cat(x).flatten().numpy() for x in zip(*told, strict=True))
    assert 0.2 < roc_auc_score(labels, found) < 0.65


def test_noise_says_next_to_nothing_however_many_features():
    fill = learned(samples := noise(120, 1, 300))
    for batch in (
        fill.of_training(samples.gather(np.arange(120)), np.arange(120)),
        noise(120, 1, 300, seed=1).gather(np.arange(120)),
    ):
        assert (fill.probabilities(batch) - fill.rates).abs().mean() < 0.15


def learned(samples: Samples) -> PrototypeFill:
    fill = PrototypeFill(samples.info.widths, 2)
    fill.learn_from(samples, *input_statistics(samples))
    return fill


def test_what_is_told_of_a_training_sample_is_its_own_in_any_batch_and_not_saved():
    labels = np.random.default_rng(0).integers(0, 2, (40, 2)).astype(np.float32)
    samples = made(labels, {m: labels @ turn for m, turn in TURNS})
    fill = learned(samples)
    rows = np.array([7, 3, 21])
    some, every = (fill.of_training(samples.gather(n), n) for n in (rows, np.arange(40)))
    for m, x in some.told.items():
        assert torch.equal(x, every.told[m][rows])
        assert torch.equal(some.first(2).told[m], x[:2])
        at_use = fill.prototypes[m].log_ratio(fill._mean_step(samples.gather(rows), m))
        assert not torch.equal(at_use, x)  # which is of the fit on all
    assert all(x.shape[0] != len(samples) for x in fill.state_dict().values())


def test_who_is_held_out_has_no_say_in_the_fit():
    rng = np.random.default_rng(0)
    steps, labels = rng.normal(size=(30, 4)), rng.integers(0, 2, (30, 2)).astype(float)
    fold = np.arange(30) % 3
    before = held_out_log_ratios(steps, labels, fold)
    labels[fold == 1] = 1 - labels[fold == 1]
    after = held_out_log_ratios(steps, labels, fold)
    np.testing.assert_array_equal(after[fold == 1], before[fold == 1])
    assert (after[fold != 1] != before[fold != 1]).all()
    assert not held_out_log_ratios(steps, labels, np.zeros(30)).any()


def test_of_one_group_nothing_can_be_held_out_and_the_token_stands_alone():
    samples = noise(1, 30, 4)
    samples.labels[::2] = 1 - samples.labels[::2]
    fill = learned(samples)
    assert torch.equal(fill.probabilities(samples.gather(np.arange(30))), fill.rates.expand(30, 2))


def test_labels_that_always_go_together_are_not_counted_twice():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, (200, 1)), 2, axis=1).astype(np.float32)
    samples = made(labels, {m: labels[:, :1] * 2 + rng.normal(0, 0.1, (200, 3)) for m, _ in TURNS})
    fill = PrototypeFill({"one": 3, "other": 3}, 2)
    mean, scale = input_statistics(samples)
    fill.learn_from(samples, mean, scale)
    added = fill.prototypes["one"].added * scale["one"]
    torch.testing.assert_close(added.sum(dim=0), torch.full((3,), 2.0), atol=0.1, rtol=0)


def test_a_label_of_all_or_none_and_a_constant_feature_leave_numbers(packed):
    packed.labels[:, 0], packed.labels[:, 1] = 1, 0
    packed.values["text"] = packed.values["text"].index_fill(1, torch.tensor([2]), 3.0)
    fill = PrototypeFill(packed.info.widths, 3)
    fill.learn_from(packed, *input_statistics(packed))
    assert all(x.isfinite().all() for x in fill.state_dict().values())
    assert not fill.prototypes["text"].added[:2].any()
    batch, _ = hidden(packed.gather(np.arange(30)))
    assert fill(batch).features["text"].isfinite().all()


def test_prototypes_come_from_the_training_samples_alone(packed, building_pooled, toy_table):
    """Other validation samples, or others behind the same values, change nothing of them."""
    others = [pack(toy_table(30, seed=seed, split="valid")) for seed in (1, 2)]
    fills = [
        train(building_pooled(packed), packed, other, quick("prototypes", epochs=1)).network.fill
        for other in others
    ]
    states = [dict(f.state_dict()) for f in fills]
    assert any("weights" in name for name in states[0])
    for name, x in states[0].items():
        assert torch.equal(x, states[1][name])
    part = packed.take(np.arange(0, 60, 2))
    steps = [part.values["text"][s : s + n] for s, n in pairs(part)]
    expected = torch.stack([x.double().mean(dim=0) for x in steps])
    torch.testing.assert_close(mean_steps(part, "text"), expected)
    mean, scale = input_statistics(part)
    torch.testing.assert_close(mean["text"], torch.cat(steps).mean(dim=0))
    torch.testing.assert_close(scale["text"], torch.cat(steps).std(dim=0, correction=0))
    again = packed.take(np.array([0, *range(59)]))  # one twice, and maybe as many steps as all have
    steps = [again.values["text"][s : s + n] for s, n in pairs(again)]
    torch.testing.assert_close(input_statistics(again)[0]["text"], torch.cat(steps).mean(dim=0))


def pairs(samples: Samples) -> list[tuple[int, int]]:
    return list(zip(samples.starts["text"], samples.lengths["text"], strict=True))


def test_samples_that_lack_a_modality_teach_nothing_of_it(packed):
    lacking = packed.without("audio")
    fill = PrototypeFill(packed.info.widths, 3)
    fill.learn_from(lacking, *input_statistics(lacking))
    assert not fill.prototypes["audio"].weights.any()
    assert fill.prototypes["text"].weights.any()
    assert not mean_steps(lacking, "audio").any()


def test_the_step_is_the_targets_own(packed, fill):
    batch, shown = hidden(packed.gather(np.arange(30)))
    numbers = {m: torch.randint(5, mask.shape) for m, mask in batch.masks.items()}
    told = StepPersons(torch.arange(30) + 10, numbers, {m: x + 3 for m, x in numbers.items()})
    out = fill(replace(batch, persons=told)).persons
    for m, there in shown.items():
        assert torch.equal(out.persons[m][~there][:, 0], out.target[~there])
        assert not out.segments[m][~there][:, 0].any()
        assert torch.equal(out.persons[m][there], numbers[m][there])
        assert torch.equal(out.segments[m][there], numbers[m][there] + 3)
        assert torch.equal(out.persons[m][:, 1:], numbers[m][:, 1:])


@pytest.mark.parametrize("kind", ["prototypes"])  # tokens are in it
def test_stopped_and_gone_on_bit_for_bit(packed, building, kind, tmp_path, monkeypatch):
    """Within an epoch, from a checkpoint file: tokens and prototypes are in it."""
    settings = quick(kind, absent={"fill": kind, "distillation": 0.5}, batch_size=20)
    build = building(packed)
    expected = train(build, packed, packed, settings)

    class PowerCutError(Exception):
        pass

    def cut(state, *arguments):
        if state.step == 2 and state.epochs:
            raise PowerCutError
        return take_step(state, *arguments)

    kept = CheckpointSettings(seconds=0)
    with monkeypatch.context() as patched:
        patched.setattr("mmer.training.checkpoints._TIMES_AS_LONG", 0)
        patched.setattr("mmer.training.loop.take_step", cut)
        with pytest.raises(PowerCutError):
            train(build, packed, packed, settings, Checkpoints(tmp_path, "k" * 16, kept))
    required = CheckpointSettings(resume="required")
    found = train(build, packed, packed, settings, Checkpoints(tmp_path, "k" * 16, required))
    assert found.history.earlier_seconds > 0
    state = found.network.state_dict()
    assert any(name.startswith("fill.") for name in state)
    for name, x in expected.network.state_dict().items():
        assert torch.equal(state[name], x), name


def test_scores_in_double_precision_agree(packed, building):
    """As the served model computes them."""
    network = start(building(packed), packed, quick("prototypes")).network
    lacking = {"text": np.arange(60) % 2 == 0}
    single = score_samples(network, packed, lacking)
    doubled = replace(packed, values={m: x.double() for m, x in packed.values.items()})
    np.testing.assert_allclose(score_samples(network.double(), doubled, lacking), single, atol=1e-4)


def test_what_asks_the_network_inside_is_answered(packed, building_carat):
    inside = building_carat(packed)()
    network = filled(inside, AbsentSettings(fill="token"), packed.info.widths, 3).eval()
    assert network.longest == inside.longest
    batch = packed.gather(np.arange(8))
    for m, found in network.label_attention(batch).items():
        assert torch.equal(found, inside.label_attention(batch)[m])
    assert filled(Network(), AbsentSettings(fill="token"), {}, 3).longest == {}


def test_a_network_learns_from_the_fill_what_an_absence_means(toy_table, building_pooled):
    """Where absence itself tells of a label, a network with a token can learn so."""
    samples = pack(toy_table(120))
    lacks = {"audio": samples.truth[:, 0] == 0}
    kept = samples.lengths["audio"] * torch.from_numpy(lacks["audio"])
    samples = replace(
        samples,
        lengths={**samples.lengths, "audio": kept},
        host_lengths={**samples.host_lengths, "audio": kept.numpy()},
        values={**samples.values, "text": torch.zeros_like(samples.values["text"])},
    )
    for kind in FILLS:
        settings = quick(kind, epochs=10, modality_dropout=0.0, learning_rate=1e-2)
        network = train(building_pooled(samples, dropout=0.0), samples, samples, settings).network
        scores = score_samples(network, samples)[:, 0]
        assert scores[~lacks["audio"]].mean() > scores[lacks["audio"]].mean() + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILLS)
def test_a_filled_network_compiles_to_the_same(packed, building_pooled, kind):
    build: Callable = building_pooled(packed, dropout=0.0)
    found = [
        train(build, packed, packed, quick(kind, compile=compiled)).network.state_dict()
        for compiled in (False, True)
    ]
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=0, atol=1e-5)


def test_an_epoch_of_samples_that_lack_nothing_leaves_the_token(packed, building_pooled):
    settings = quick("token", modality_dropout=0.0)
    with repeatable(CPU):
        state = start(building_pooled(packed), packed, settings)
        before = {n: x.clone() for n, x in state.network.fill.state_dict().items()}
        with EpochProgress(state.total_steps, settings.epochs) as progress:
            finish_epoch(state, packed, packed, settings, progress)
    for name, x in state.network.fill.state_dict().items():
        torch.testing.assert_close(x, before[name], rtol=1e-2, atol=1e-3)  # decay alone
