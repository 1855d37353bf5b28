"""RAMer on corpora with several persons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmer.errors import InputError
from mmer.pipelines.fitting import fit
from mmer.samples.batches import StepPersons, pack
from mmer.samples.streaming import in_parts
from mmer.samples.table import Persons, write_table
from mmer.systems.contract import scored
from mmer.systems.ramer.settings import RamerSettings
from mmer.systems.ramer.system import RamerSystem
from mmer.systems.storage import load_fitted, save_fitted
from mmer.training.checkpoints import CheckpointSettings

CPU = torch.device("cpu")


def reordered(batch, order):
    """The steps of every modality in another order."""
    told = batch.persons
    return replace(
        batch,
        features={m: x[:, order] for m, x in batch.features.items()},
        masks={m: x[:, order] for m, x in batch.masks.items()},
        persons=StepPersons(
            told.target,
            {m: x[:, order] for m, x in told.persons.items()},
            {m: x[:, order] for m, x in told.segments.items()},
        ),
    )


def lesson(network, batch):
    network.train().zero_grad()
    torch.manual_seed(3)
    losses = network.losses(batch)
    losses.terms["total"].backward()
    return losses.terms


def test_steps_may_stand_in_any_order(make_network, make_talk, persons):
    network, batch = make_network(persons=persons).eval(), make_talk()
    order = torch.tensor([8, 3, 1, 7, 0, 2, 6, 4, 5])
    moved = reordered(batch, order)
    torch.testing.assert_close(network.scores(moved), network.scores(batch))
    looks, again = network.label_attention(batch), network.label_attention(moved)
    for m, x in looks.items():
        torch.testing.assert_close(again[m], x[:, order])


def test_persons_may_have_any_number(make_network, make_talk, persons):
    """Persons and what is known of them permuted alike: nothing changes."""
    batch, order = make_talk(), torch.tensor([2, 0, 3, 1])  # new number -> old
    new = order.argsort()
    told = batch.persons
    renumbered = replace(
        batch,
        persons=StepPersons(
            new[told.target], {m: new[x] for m, x in told.persons.items()}, told.segments
        ),
    )
    names = tuple(persons.names[n] for n in order)
    known = Persons(names=names, traits=tuple(persons.traits[n] for n in order))
    scores = make_network(persons=persons).eval().scores(batch)
    torch.testing.assert_close(make_network(persons=known).eval().scores(renumbered), scores)
    assert not torch.allclose(make_network(persons=known).eval().scores(batch), scores)


def test_a_masked_cell_has_no_influence(make_network, make_talk, persons):
    network, batch = make_network(persons=persons), make_talk()
    told = batch.persons
    noise = replace(
        batch,
        features={m: x.where(batch.masks[m][..., None], 7.0) for m, x in batch.features.items()},
        persons=StepPersons(
            told.target,
            {m: x.where(batch.masks[m], 3) for m, x in told.persons.items()},
            {m: x.where(batch.masks[m], 1) for m, x in told.segments.items()},
        ),
    )
    first, second = lesson(network, batch), lesson(network, noise)
    for name, term in first.items():
        torch.testing.assert_close(second[name], term, msg=name)
    network.eval()
    torch.testing.assert_close(network.scores(noise), network.scores(batch))
    padded = replace(
        batch,
        features={m: F.pad(x, (0, 0, 0, 4), value=2.0) for m, x in batch.features.items()},
        masks={m: F.pad(x, (0, 4)) for m, x in batch.masks.items()},
        persons=StepPersons(
            told.target,
            {m: F.pad(x, (0, 4)) for m, x in told.persons.items()},
            {m: F.pad(x, (0, 4)) for m, x in told.segments.items()},
        ),
    )
    torch.testing.assert_close(network.scores(padded), network.scores(batch))


def test_others_and_their_traits_count(make_network, make_talk, persons):
    network, batch = make_network(persons=persons).eval(), make_talk()
    scores = network.scores(batch)
    told = batch.persons
    others = {m: (x != told.target[:, None]) & batch.masks[m] for m, x in told.persons.items()}
    features = {m: torch.where(others[m][..., None], -x, x) for m, x in batch.features.items()}
    assert not torch.allclose(network.scores(replace(batch, features=features)), scores)
    network.traits.vectors[2] += 1
    assert not torch.allclose(network.scores(batch), scores)


def test_attention_is_told_of_steps(make_network, make_talk, persons):
    network, batch = make_network(persons=persons).eval(), make_talk()
    for m, looks in network.label_attention(batch).items():
        assert (looks[~batch.masks[m]] == 0).all()
        torch.testing.assert_close(looks.sum(dim=1), torch.ones(5, 3))


def test_absent_modalities_and_all_gradients(make_network, make_talk, persons):
    network = make_network(persons=persons, dropout=0.2)
    batch = make_talk()
    assert all(term.isfinite() for term in lesson(network, batch).values())
    assert all(p.grad.isfinite().all() for p in network.parameters())
    absent = torch.tensor([True, False, True, True, True])
    for shown in (absent, torch.zeros(5, dtype=torch.bool)):
        hidden = batch.hide({"visual": shown})
        assert all(term.isfinite() for term in lesson(network, hidden).values())
        assert all(p.grad.isfinite().all() for p in network.parameters())
    empty = replace(
        batch,
        features={m: x[:, :0] if m == "visual" else x for m, x in batch.features.items()},
        masks={m: x[:, :0] if m == "visual" else x for m, x in batch.masks.items()},
        persons=StepPersons(
            batch.persons.target,
            {m: x[:, :0] if m == "visual" else x for m, x in batch.persons.persons.items()},
            {m: x[:, :0] if m == "visual" else x for m, x in batch.persons.segments.items()},
        ),
    )
    whole = network.eval().scores(batch.hide({"visual": torch.zeros(5, dtype=torch.bool)}))
    torch.testing.assert_close(network.scores(empty), whole)


def test_a_task_tells_the_personality(make_network, make_talk, persons):
    batch = make_talk()
    network = make_network(persons=persons)
    assert lesson(network, batch)["mse_personality"] > 0
    assert network.personality.weight.grad.abs().sum() > 0
    network = make_network(persons=persons, parts={"personality": False})
    assert "mse_personality" not in lesson(network, batch)
    scores = network.eval().scores(batch)
    network.traits.vectors.normal_()
    assert torch.equal(network.scores(batch), scores)


def test_without_persons_all_this_is_absent(make_network, make_talk, make_batch, persons):
    plain = make_network()
    names = {name for name, _ in plain.named_parameters()}
    assert not [name for name in names if "context" in name or "personality" in name]
    batch = make_talk()
    torch.testing.assert_close(plain.scores(batch), plain.scores(replace(batch, persons=None)))
    switched_off = make_network(persons=persons, parts={"persons": False})
    assert {name for name, _ in switched_off.named_parameters()} == names


def test_a_batch_that_tells_no_persons_has_steps_all_alike(make_network, make_talk, persons):
    network, batch = make_network(persons=persons).eval(), make_talk()
    silent = replace(batch, persons=None)
    scores = network.scores(silent)
    assert not torch.allclose(network.scores(batch), scores)
    network.traits.vectors.normal_()
    for branch in network.label_specific.values():
        torch.nn.init.normal_(branch.context.roles)
    assert torch.equal(network.scores(silent), scores)
    assert lesson(network, silent)["mse_personality"] == 0


@pytest.mark.parametrize("changes", [{"reference": True}, {"pseudo_aligned_length": 6}])
def test_what_cannot_be_with_persons_is_refused(make_network, persons, changes):
    with pytest.raises(InputError, match=rf"RAMer's settings.*network\.{next(iter(changes))}"):
        make_network(persons=persons, pseudo_aligned=("visual",), **changes)
    make_network(persons=persons, parts={"persons": False}, **changes)


SETTINGS = RamerSettings.model_validate(
    {
        "network": {
            "hidden": 8,
            "latent": 4,
            "heads": 2,
            "feed_forward": 8,
            "layers": 1,
            "queue": 32,
        },
        "training": {"epochs": 1, "batch_size": 8, "device": "cpu"},
    }
)


@pytest.fixture
def talks(toy_info, toy_samples, persons, tmp_path):
    """Tables of samples with persons."""

    def table(split, seed, names=persons.names):
        rng, rows = np.random.default_rng(seed), toy_samples(16, seed)
        for row in rows:
            row.person = int(rng.integers(4))
            for m, x in row.features.items():
                row.step_persons[m] = rng.integers(4, size=len(x))
                row.step_segments[m] = np.arange(len(x)) // 2
        known = Persons(names=names, traits=persons.traits)
        info = toy_info.model_copy(update={"split": split, "persons": known})
        return write_table(tmp_path / f"{split}-{names[0]}.arrow", info, rows)

    return table


def test_a_loaded_model_needs_no_table_for_its_persons(talks, tmp_path, persons):
    system, table = RamerSystem(), talks("valid", 1)
    valid = pack(table)
    fitted = system.fit(pack(talks("train", 0)), valid, SETTINGS).fitted
    assert fitted.info.persons == persons
    expected = scored(fitted, system.scorer(fitted, CPU), valid).scores
    save_fitted(fitted, tmp_path / "model.safetensors")
    loaded = load_fitted(tmp_path / "model.safetensors")
    scorer = system.scorer(loaded, CPU)
    np.testing.assert_array_equal(scored(loaded, scorer, valid).scores, expected)
    streamed = [scorer.scores(samples) for _, samples in in_parts(table, 5)]
    np.testing.assert_allclose(np.concatenate(streamed), expected, rtol=1e-5)
    looks = scorer.attention(valid, np.array([3]))[0]
    assert {m: x.shape for m, x in looks.items()} == {
        m: (valid.host_lengths[m][3], 3) for m in valid.modalities
    }
    without = replace(valid, target=None, step_persons=None, step_segments=None)
    assert not np.allclose(scorer.scores(without), expected)


def test_other_persons_than_those_of_training_are_refused(talks):
    system = RamerSystem()
    fitted = system.fit(pack(talks("train", 0)), pack(talks("valid", 1)), SETTINGS).fitted
    strangers = pack(talks("test", 2, ("Eve", "Finn", "Gus", "Hal")))
    with pytest.raises(InputError, match=r"persons.*Ann, Ben, Cleo, Dee.*Eve, Finn, Gus, Hal"):
        system.scorer(fitted, CPU).scores(strangers)


def test_other_traits_under_the_same_names_are_refused(talks, persons):
    system = RamerSystem()
    fitted = system.fit(pack(talks("train", 0)), pack(talks("valid", 1)), SETTINGS).fitted
    scorer, samples = system.scorer(fitted, CPU), pack(talks("test", 2))
    changed = (*persons.traits[:2], (9.0, 9.0, 9.0), persons.traits[3])
    known = Persons(names=persons.names, traits=changed)
    other = replace(samples, info=samples.info.model_copy(update={"persons": known}))
    assert scorer.scores(samples).shape == (16, 3)
    for ask in (scorer.scores, lambda them: scorer.attention(them, np.array([0]))):
        with pytest.raises(InputError, match=r"traits of Cleo.*4.0, 20.0, 5.0.*9.0, 9.0, 9.0"):
            ask(other)


def test_without_its_part_for_persons_it_scores_anybodys_samples(talks, tmp_path):
    system = RamerSystem()
    off = system.settings_without(SETTINGS, "persons")
    fitted = system.fit(pack(talks("train", 0)), pack(talks("valid", 1)), off).fitted
    assert fitted.info.persons is None
    save_fitted(fitted, tmp_path / "model.safetensors")
    scorer = system.scorer(load_fitted(tmp_path / "model.safetensors"), CPU)
    samples = pack(talks("test", 2, ("Eve", "Finn", "Gus", "Hal")))
    untold = replace(samples, target=None, step_persons=None, step_segments=None)
    np.testing.assert_array_equal(scorer.scores(samples), scorer.scores(untold))


def test_what_knows_no_persons_says_nothing_of_them(toy_table):
    train = pack(toy_table(16))
    fitted = RamerSystem().fit(train, train, SETTINGS).fitted
    assert fitted.info.persons is None
    assert "persons" not in fitted.info.model_dump()
    assert '"persons":{' not in fitted.info.to_json()


@pytest.mark.slow
def test_two_processes_train_as_one(talks, tmp_path):
    tables = talks("train", 0), talks("valid", 1)
    network = {**SETTINGS.network.model_dump(), "dropout": 0.0, "common_dropout": 0.0}
    network |= dict.fromkeys(("specific_dropout", "discriminator_dropout", "persons_dropout"), 0.0)
    fits = []
    for processes in (1, 2):
        training = {"epochs": 2, "batch_size": 6, "device": "cpu", "processes": processes}
        settings = RamerSettings.model_validate({"network": network, "training": training})
        kept = CheckpointSettings(seconds=3600)
        fits.append(fit(RamerSystem(), None, *tables, settings, tmp_path / f"{processes}", kept))
    one, two = (found.fitted for found in fits)
    assert one.info == two.info
    for name, expected in one.arrays.items():
        torch.testing.assert_close(two.arrays[name], expected, rtol=0, atol=1e-5, msg=name)
