from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.evaluation.pooling import pooled_features
from mmer.samples.table import (
    MODALITIES,
    Features,
    Sample,
    TableInfo,
    flat_features,
    multi_hot,
    record_batches,
    table_schema,
)

WIDTHS = {"text": 3, "visual": 1, "audio": 2}


def make_table(lengths: list[list[int | None]], seed: int) -> tuple[pa.Table, list[Sample]]:
    generator = np.random.default_rng(seed)
    features = {m: Features(m, width) for m, width in WIDTHS.items()}
    info = TableInfo("toy", ("happy", "sad"), features, "none", True)
    samples = [
        Sample(
            f"s{i}",
            f"g{i}",
            {
                m: None if n is None else generator.normal(size=(n, WIDTHS[m])).astype("float32")
                for m, n in zip(MODALITIES, row, strict=True)
            },
            generator.integers(0, 2, 2).astype(np.uint8),
        )
        for i, row in enumerate(lengths)
    ]
    halves = [samples[: len(samples) // 2], samples[len(samples) // 2 :]]
    batches = [batch for half in halves for batch in record_batches(info, half)]
    return pa.Table.from_batches(batches, schema=table_schema(info)), samples


rows = st.lists(
    st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=3, max_size=3), max_size=9
)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 5), st.integers(0, 9), st.integers(0, 9))
def test_pooled_features_are_means_over_steps(lengths, seed, start, length):
    table, samples = make_table(lengths, seed)
    part, samples = table.slice(start, length), samples[start : start + length]
    for modality, pooled in pooled_features(part).items():
        assert pooled.shape == (len(samples), WIDTHS[modality])
        for row, sample in zip(pooled, samples, strict=True):
            steps = sample.features[modality]
            if steps is None or not len(steps):
                assert np.isnan(row).all()
            else:
                np.testing.assert_allclose(row, steps.astype(float).mean(axis=0))
    assert multi_hot(part).tolist() == [s.labels.tolist() for s in samples]


def test_rows_hidden_below_a_null_take_no_part():
    inner = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2)
    offsets, absent = pa.array([0, 1, 2, 3], pa.int32()), pa.array([False, True, False])
    column = pa.ListArray.from_arrays(offsets, inner, mask=absent)
    table = pa.table(dict.fromkeys(MODALITIES, column))
    pooled = pooled_features(table)["text"]
    assert pooled[0].tolist() == [0, 1]
    assert np.isnan(pooled[1]).all()
    assert pooled[2].tolist() == [4, 5]


def test_features_are_not_copied(toy_table):
    chunk = toy_table(5)["audio"].chunk(0)
    flat, offsets = flat_features(chunk)
    values = chunk.values.values.to_numpy()
    assert np.shares_memory(flat, values)
    assert offsets[0] == 0
    assert offsets[-1] == len(flat)
