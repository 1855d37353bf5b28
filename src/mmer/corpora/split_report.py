"""What one split's sample table holds, counted record batch by record batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mmer.metrics.counts import label_pairs
from mmer.samples.table import SampleTable, TableInfo, fixed_rows, flat_features
from mmer.schema import Record

_DIFFERENT_WORDS = 5


class Quantiles(Record):
    """How numbers are distributed: extremes, quantiles in percent, mean."""

    minimum: float
    q5: float
    q25: float
    median: float
    q75: float
    q95: float
    maximum: float
    mean: float

    @classmethod
    def of(cls, values: np.ndarray) -> Quantiles | None:
        """None if there is no value."""
        if not len(values):
            return None
        found = [*np.percentile(values, (0, 5, 25, 50, 75, 95, 100)), values.mean()]
        return cls(**dict(zip(cls.model_fields, found, strict=True)))


class SplitReport(Record):
    """What one split holds; modalities and labels by name.

    Attributes:
        persons: How many persons appear; None if persons are not known.
        lengths: Steps of the samples that have the modality; None if none has.
        seconds: Durations of the samples whose times are known; None if those of none are.
        label_counts, label_rates: Samples that have the label, and their share.
        co_occurrence: (K, K) samples that have both labels, of `DataReport.frequent_labels`.
        without_label: Samples that have none.
        missing, without_features: Samples that lack the modality, or all.
        all_zero: Samples whose source has the modality, but zero throughout. Where such zeros are
            taken as absent they are among the `missing`.
        cleaned_values, cleaned_samples: Values that were not finite and are 0 in the table, and in
            how many samples.
        constant_features: Columns that never change.
    """

    samples: int
    groups: int
    persons: int | None
    lengths: dict[str, Quantiles | None]
    seconds: Quantiles | None
    label_counts: dict[str, int]
    label_rates: dict[str, float]
    co_occurrence: tuple[tuple[int, ...], ...]
    labels_per_sample: float
    without_label: int
    missing: dict[str, int]
    all_zero: dict[str, int]
    without_features: int
    cleaned_values: dict[str, int]
    cleaned_samples: dict[str, int]
    constant_features: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Identities:
    """What tells whether samples of two splits are the same.

    Attributes:
        samples: A row per sample: `sample_id`, `group_id`, `digest` of the features and of whose
            they are, and `words`, the digest of words of which at least five differ; missing where
            there is none.
        persons: Names of those that appear.
    """

    samples: pd.DataFrame
    persons: set[str] = field(default_factory=set)


def label_counts(table: SampleTable) -> np.ndarray:
    """(L,) samples that have each label."""
    chunks = table.arrow()["labels"].chunks
    zeros = np.zeros(len(table.info.labels), np.int64)
    return sum((fixed_rows(chunk).sum(axis=0, dtype=np.int64) for chunk in chunks), zeros)


def count_split(table: SampleTable, frequent: Sequence[str]) -> tuple[SplitReport, Identities]:
    """Read a table once; what is kept per sample is its ids, lengths and digests.

    Args:
        table: Of one split; at least one sample.
        frequent: Labels whose co-occurrence is counted.
    """
    rows, info = table.arrow(), table.info
    hashes = [blake2b(digest_size=16) for _ in range(rows.num_rows)]
    constant = {m: _digest(rows[m], hashes) for m in info.modalities}
    _digest_persons(rows, info, hashes)
    samples = rows.select(["sample_id", "group_id"]).to_pandas()
    absent = {m: rows[m].is_null().to_numpy() for m in info.modalities}
    without = np.logical_and.reduce(list(absent.values()))
    samples["digest"] = [None if w else h.digest() for w, h in zip(without, hashes, strict=True)]
    samples["words"] = [_digest_of_words(words) for words in rows["words"]]
    persons = _persons(rows, info)
    lengths = {m: pc.list_value_length(rows[m]).drop_null().to_numpy() for m in info.modalities}
    report = SplitReport(
        samples=len(samples),
        groups=samples["group_id"].nunique(),
        persons=len(persons) if info.persons else None,
        lengths={m: Quantiles.of(steps) for m, steps in lengths.items()},
        seconds=Quantiles.of(pc.subtract(rows["end"], rows["start"]).drop_null().to_numpy()),
        **_labels(table, frequent),
        missing={m: int(found.sum()) for m, found in absent.items()},
        without_features=int(without.sum()),
        **_per_modality(rows, info.modalities),
        constant_features=constant,
    )
    return report, Identities(samples, persons)


def _labels(table: SampleTable, frequent: Sequence[str]) -> dict:
    labels, counts, without = table.info.labels, label_counts(table), 0
    chosen, pairs = [labels.index(label) for label in frequent], np.zeros(2 * [len(frequent)], int)
    for chunk in table.arrow()["labels"].chunks:
        present = fixed_rows(chunk)
        without += int((~present.any(axis=1)).sum())
        pairs += label_pairs(present[:, chosen])
    return {
        "label_counts": dict(zip(labels, counts.tolist(), strict=True)),
        "label_rates": dict(zip(labels, (counts / len(table)).tolist(), strict=True)),
        "labels_per_sample": counts.sum() / len(table),
        "without_label": without,
        "co_occurrence": pairs.tolist(),
    }


def _per_modality(rows: pa.Table, modalities: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Counts that stand in the table as one value per sample and modality."""
    found: dict[str, Counter[str]] = {
        name: Counter(dict.fromkeys(modalities, 0))
        for name in ("all_zero", "cleaned_values", "cleaned_samples")
    }
    for batch in rows.select(["all_zero", "cleaned"]).to_batches():
        zero, cleaned = (
            np.asarray(column.flatten()).reshape(-1, len(modalities)) for column in batch.columns
        )
        for name, values in zip(found, (zero, cleaned, cleaned > 0), strict=True):
            sums = values.sum(axis=0, dtype=np.int64).tolist()
            found[name].update(dict(zip(modalities, sums, strict=True)))
    return {name: dict(counts) for name, counts in found.items()}


def _digest(column: pa.ChunkedArray, hashes: list) -> tuple[int, ...]:
    """Feed each sample's rows to its hash, chunk by chunk; which columns are constant."""
    width = column.type.value_type.list_size
    least, most, samples = np.full(width, np.inf), np.full(width, -np.inf), iter(hashes)
    for chunk in column.chunks:
        flat, offsets = flat_features(chunk)
        least = np.minimum(least, flat.min(axis=0, initial=np.inf))
        most = np.maximum(most, flat.max(axis=0, initial=-np.inf))
        for begin, end in pairwise(offsets):
            digest = next(samples)
            digest.update(int(end - begin).to_bytes(8, "little"))
            digest.update(flat[begin:end].data)
    return tuple(np.flatnonzero(least == most).tolist())


def _digest_persons(rows: pa.Table, info: TableInfo, hashes: list) -> None:
    """The same features, asked about somebody else or shown by others, are another sample."""
    names = ("person", *(f"{m}_{what}" for m in info.modalities for what in ("person", "segment")))
    for name in names if info.persons else ():
        for digest, value in zip(hashes, rows[name].to_pylist(), strict=True):
            digest.update(repr(value).encode())


def _digest_of_words(scalar: pa.ListScalar) -> bytes | None:
    words: Iterable[str] = scalar.as_py() or ()
    words = [word.casefold() for word in words if word]
    if len(set(words)) < _DIFFERENT_WORDS:
        return None
    return blake2b("\0".join(words).encode(), digest_size=16).digest()


def _persons(rows: pa.Table, info: TableInfo) -> set[str]:
    """Names of the persons whose labels or steps the samples hold."""
    if info.persons is None:
        return set()
    found = set(rows["person"].unique().to_pylist())
    for modality in info.modalities:
        found |= set(pc.unique(pc.list_flatten(rows[f"{modality}_person"])).to_pylist())
    return {info.persons.names[person] for person in found - {None}}
