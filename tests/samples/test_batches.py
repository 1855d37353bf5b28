"""Batches: the gather against a loop that pads sample by sample, and what an epoch sees."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.errors import InputError
from mmer.samples.batches import batches_by_length, length_aware_batches, pack, samples_of
from mmer.samples.joining import join_tables
from mmer.samples.table import Features, Sample, write_table


@pytest.fixture
def packed_with_gaps(tmp_path, toy_info, toy_samples):
    samples = toy_samples(600)
    samples[0].features["visual"] = None
    samples[599].features["text"] = None
    samples[300].features["audio"] = None
    return samples, pack(write_table(tmp_path / "t.arrow", toy_info, samples))


@pytest.mark.parametrize("index", [[0], [599, 0, 300], [5, 5, 7], list(range(0, 600, 7))])
def test_gather_equals_padding_sample_by_sample(packed_with_gaps, index):
    samples, packed = packed_with_gaps
    batch = packed.gather(np.array(index))
    for modality in packed.modalities:
        rows = [samples[i].features[modality] for i in index]
        longest = max(1, *(0 if r is None else len(r) for r in rows), 0)
        width = packed.values[modality].shape[1]
        assert batch.features[modality].shape == (len(index), longest, width)
        for b, expected in enumerate(rows):
            length = 0 if expected is None else len(expected)
            if expected is not None:
                np.testing.assert_array_equal(batch.features[modality][b, :length], expected)
            assert not batch.features[modality][b, length:].any()
            assert batch.masks[modality][b].tolist() == [t < length for t in range(longest)]
    np.testing.assert_array_equal(batch.labels, np.stack([samples[i].labels for i in index]))


def test_taken_samples_gather_as_where_they_were(packed_with_gaps):
    packed = packed_with_gaps[1]
    index = np.array([599, 4, 300, 0])
    taken = packed.take(index)
    assert taken.sample_ids == tuple(packed.sample_ids[n] for n in index)
    assert taken.group_ids == tuple(packed.group_ids[n] for n in index)
    np.testing.assert_array_equal(taken.truth, packed.truth[index])
    np.testing.assert_array_equal(taken.longest, packed.longest[index])
    ours, theirs = taken.gather(np.arange(4)), packed.gather(index)
    for modality in packed.modalities:
        assert torch.equal(ours.features[modality], theirs.features[modality])
        assert torch.equal(ours.masks[modality], theirs.masks[modality])


def test_a_modality_absent_everywhere_gathers_as_nothing(tmp_path, toy_info, toy_samples):
    samples = toy_samples(4)
    for sample in samples:
        sample.features["audio"] = None
    batch = pack(write_table(tmp_path / "t.arrow", toy_info, samples)).gather(np.arange(4))
    assert batch.features["audio"].shape == (4, 1, 5)
    assert not batch.masks["audio"].any()


def test_an_empty_batch_is_refused(packed_with_gaps):
    with pytest.raises(InputError, match="at least one sample"):
        packed_with_gaps[1].gather(np.array([], np.int64))


def test_a_table_that_was_joined_is_not_copied(tmp_path, toy_info):
    wide = {"only": Features(name="wide", width=1000)}
    info = toy_info.model_copy(update={"features": wide})
    rows = np.ones((5, 1000), np.float32)
    samples = [Sample(str(i), str(i), {"only": rows}, np.zeros(3)) for i in range(700)]
    part = write_table(tmp_path / "part.arrow", info, samples).path
    tracemalloc.start()
    table = join_tables(tmp_path / "t.arrow", info, [part])
    packed = pack(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert packed.nbytes == 700 * rows.nbytes
    assert peak < packed.nbytes / 5


def test_hidden_modalities_are_masked_and_zero(packed_with_gaps):
    _, packed = packed_with_gaps
    batch = packed.gather(np.arange(1, 9))
    shown = torch.tensor([True, False] * 4)
    hidden = batch.hide({"audio": shown})
    assert not hidden.masks["audio"][~shown].any()
    assert not hidden.features["audio"][~shown].any()
    assert torch.equal(hidden.features["audio"][shown], batch.features["audio"][shown])
    assert torch.equal(hidden.masks["text"], batch.masks["text"])
    assert batch.masks["audio"].any(dim=1).all()


def test_samples_of_a_request_gather_like_those_of_a_table(packed_with_gaps, toy_info):
    samples, packed = packed_with_gaps
    features = {
        m: [
            np.zeros((0, w), np.float32) if s.features[m] is None else s.features[m]
            for s in samples
        ]
        for m, w in toy_info.widths.items()
    }
    made = samples_of(toy_info, features, tuple(s.sample_id for s in samples))
    index = np.array([0, 599, 300, 17])
    for modality in toy_info.modalities:
        for kind in ("features", "masks"):
            ours, theirs = (getattr(x.gather(index), kind)[modality] for x in (made, packed))
            assert torch.equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=400),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 5),
)
def test_an_epoch_sees_every_sample_once(lengths, batch_size, seed):
    lengths = np.array(lengths)
    for batches in (
        length_aware_batches(lengths, batch_size, np.random.default_rng(seed)),
        batches_by_length(lengths, batch_size),
    ):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        assert all(1 <= len(batch) <= batch_size for batch in batches)
        assert sum(len(batch) < batch_size for batch in batches) <= 1


def test_like_lengths_share_a_batch():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 4096)
    padded = {
        "length aware": length_aware_batches(lengths, 64, np.random.default_rng(1)),
        "plain": np.array_split(rng.permutation(4096), 64),
    }
    steps = {name: sum(len(b) * lengths[b].max() for b in bs) for name, bs in padded.items()}
    assert steps["length aware"] < 1.1 * lengths.sum()
    assert steps["plain"] > 1.5 * lengths.sum()


def test_epochs_differ_and_seeds_repeat():
    lengths = np.random.default_rng(0).integers(1, 60, 1000)
    rng = np.random.default_rng(3)
    first, second = (np.concatenate(length_aware_batches(lengths, 32, rng)) for _ in range(2))
    again = np.concatenate(length_aware_batches(lengths, 32, np.random.default_rng(3)))
    assert (first != second).any()
    assert (first == again).all()


@pytest.mark.gpu
def test_gather_on_the_device_equals_gather_on_the_host(packed_with_gaps):
    _, packed = packed_with_gaps
    index = np.arange(0, 600, 5)
    host, device = packed.gather(index), packed.to(torch.device("cuda")).gather(index)
    for modality in packed.modalities:
        assert torch.equal(device.features[modality].cpu(), host.features[modality])
        assert torch.equal(device.masks[modality].cpu(), host.masks[modality])
