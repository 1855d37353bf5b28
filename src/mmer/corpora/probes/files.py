"""The files of a probe: its drawn samples as the Parquet reader takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmer.corpora.probes.probe import LABELS, MODALITIES, WIDTH, Probe, Shown
from mmer.corpora.probes.reader import FILE
from mmer.samples.table import SPLITS, Split

_ROWS_PER_GROUP = 256
_STREAMS = ("directions", *SPLITS)


def write_probe(folder: Path, probe: Probe) -> dict[str, float]:
    """Write the samples of a probe into an empty folder; returns the Bayes-optimal score."""
    tables = [_table(probe, split) for split in SPLITS]
    pq.write_table(
        pa.concat_tables(tables),
        folder / FILE,
        row_group_size=_ROWS_PER_GROUP,
        use_dictionary=False,
        write_page_checksum=True,
    )
    return probe.bayes_optimal()


def draw_split(probe: Probe, split: Split) -> tuple[np.ndarray, np.ndarray, Shown]:
    """Groups (N,), labels (N, L), and what the samples of a split show, as they are written."""
    count = {
        "train": probe.train_samples,
        "valid": probe.valid_samples,
        "test": probe.test_samples,
    }[split]
    groups = np.arange(count) // probe.group_size
    return groups, *probe.draw(_random(probe, split), groups, split)


def directions(probe: Probe) -> np.ndarray:
    """(M, D, D) orthonormal: of each modality, the direction in its features of each coordinate.

    So the noise of features is standard normal too, and no feature by itself is evidence.
    """
    normal = _random(probe, "directions").standard_normal((len(MODALITIES), WIDTH, WIDTH))
    return np.linalg.qr(normal)[0]


def _table(probe: Probe, split: Split) -> pa.Table:
    groups, labels, shown = draw_split(probe, split)
    features = np.einsum("nmtc,mcd->nmtd", shown.values, directions(probe)).astype(np.float32)
    columns = {
        "sample_id": [f"{split}_{number}" for number in range(len(labels))],
        "split": [split] * len(labels),
        "group_id": [f"{split}_group_{group}" for group in groups],
    }
    steps = pa.list_(pa.list_(pa.float32()))
    for modality, name in enumerate(MODALITIES):
        pairs = zip(features[:, modality], shown.there[:, modality], strict=True)
        columns[name] = pa.array(
            [list(rows[there]) if there.any() else None for rows, there in pairs], steps
        )
    columns["labels"] = pa.array(
        [[name for name, one in zip(LABELS, row, strict=True) if one] for row in labels],
        pa.list_(pa.string()),
    )
    return pa.table(columns)


def _random(probe: Probe, stream: str) -> np.random.Generator:
    return np.random.default_rng([probe.seed, _STREAMS.index(stream)])
