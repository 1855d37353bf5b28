"""What a corpus' sample tables hold, and what of it deserves a second look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmer.corpora.corpus import Corpus
from mmer.corpora.ingestion import check_disjoint
from mmer.errors import InputError
from mmer.samples.table import (
    SPLITS,
    SampleTable,
    Split,
    TableInfo,
    fixed_rows,
    flat_features,
    multi_hot,
)
from mmer.schema import Record

_EXAMPLES = 5


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
        names = ("minimum", "q5", "q25", "median", "q75", "q95", "maximum")
        found = np.percentile(values, (0, 5, 25, 50, 75, 95, 100)).tolist()
        return cls(**dict(zip(names, found, strict=True)), mean=float(values.mean()))


class Repeated(Record):
    """How many samples repeat an earlier one, and the first pairs of them."""

    count: int
    examples: tuple[tuple[str, str], ...]


class SplitReport(Record):
    """What one split holds; M modalities and L labels by name.

    Attributes:
        samples, groups: How many.
        lengths: Modality -> steps of the samples that have it; None if none has.
        seconds: Durations of the samples whose times are known; None if those of none are.
        label_counts, label_rates: Label -> samples that have it, and their share.
        co_occurrence: (L, L) samples that have both labels.
        labels_per_sample: Mean.
        without_label: Samples that have none.
        missing: Modality -> samples that lack it.
        without_features: Samples that lack all.
        cleaned_values, cleaned_samples: Modality -> values that were not finite and are 0 in the
            table, and in how many samples.
        constant_features: Modality -> columns that never change.
        repeated_ids, repeated_features: Samples that have an earlier one's id or features.
    """

    samples: int
    groups: int
    lengths: dict[str, Quantiles | None]
    seconds: Quantiles | None
    label_counts: dict[str, int]
    label_rates: dict[str, float]
    co_occurrence: tuple[tuple[int, ...], ...]
    labels_per_sample: float
    without_label: int
    missing: dict[str, int]
    without_features: int
    cleaned_values: dict[str, int]
    cleaned_samples: dict[str, int]
    constant_features: dict[str, tuple[int, ...]]
    repeated_ids: Repeated
    repeated_features: Repeated


class Shared(Record):
    """What two splits have in common; nothing, if all is well."""

    splits: tuple[Split, Split]
    what: Literal["sample ids", "features"]
    count: int
    examples: tuple[str, ...]


class CountBesidePublished(Record):
    """A count of ours beside the published one; see `Published`."""

    what: str
    split: str
    ours: int
    published: int

    @property
    def difference(self) -> int:
        """Ours minus the published one."""
        return self.ours - self.published


class DataReport(Record):
    """What the sample tables of a corpus hold.

    Attributes:
        info: What the tables say of themselves; that of the training split.
        splits: Split -> what it holds.
        shared: What more than one split has.
        published: Counts beside the published ones; none for a synthetic corpus.
        findings: Sentences on what deserves a look.
    """

    info: TableInfo
    splits: dict[Split, SplitReport]
    shared: tuple[Shared, ...]
    published: tuple[CountBesidePublished, ...]
    findings: tuple[str, ...]


def data_report(tables: dict[Split, SampleTable], corpus: Corpus) -> DataReport:
    """Describe the sample tables of a corpus.

    The tables are read once, record batch by record batch, so that they may be larger than memory;
    what is kept per sample is its ids, lengths and a digest.

    Args:
        tables: "train", "valid" and "test" -> sample table.
        corpus: Whose published counts stand beside ours.

    Raises:
        InputError: A split is missing or empty, the tables were not made together (of other files,
            settings, labels), or two of them share a group.
    """
    info = _common_info(tables)
    scans = {split: _Scan.of(split, table) for split, table in tables.items()}
    check_disjoint(f"sample tables of {info.corpus}", {s: scans[s].group_ids for s in scans})
    splits = {split: scan.describe() for split, scan in scans.items()}
    shared, published = tuple(_shared(scans)), tuple(_beside_published(info, corpus, splits))
    findings = tuple(_findings(info, splits, shared, published))
    return DataReport(
        info=info, splits=splits, shared=shared, published=published, findings=findings
    )


@dataclass(frozen=True)
class _Scan:
    """One split's table, its features read through.

    Attributes:
        digests: Of each sample's features; its own name where it has none, to equal no other.
        constant: Modality -> columns that never change.
    """

    info: TableInfo
    rows: pa.Table
    sample_ids: list[str]
    group_ids: list[str]
    digests: list[bytes]
    constant: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, split: Split, table: SampleTable) -> _Scan:
        rows, info = table.arrow(), table.info
        if rows.num_rows == 0:
            raise InputError(f"{info.corpus} {split}", "", "at least one sample", "none")
        ids, hashes = (
            rows["sample_id"].to_pylist(),
            [blake2b(digest_size=16) for _ in range(len(rows))],
        )
        constant = {m: _digest(rows[m], hashes) for m in info.modalities}
        for i in np.flatnonzero(_absent(rows, info).all(axis=1)):
            hashes[i].update(ids[i].encode())
        digests = [digest.digest() for digest in hashes]
        return cls(info, rows, ids, rows["group_id"].to_pylist(), digests, constant)

    def describe(self) -> SplitReport:
        rows, modalities = self.rows, self.info.modalities
        labels, cleaned = multi_hot(rows).astype(int), fixed_rows(rows["cleaned"].combine_chunks())
        absent = _absent(rows, self.info)
        steps = {m: pc.list_value_length(rows[m]).drop_null().to_numpy() for m in modalities}
        seconds = pc.subtract(rows["end"], rows["start"]).drop_null().to_numpy()
        return SplitReport(
            samples=len(labels),
            groups=len(set(self.group_ids)),
            lengths={m: Quantiles.of(lengths) for m, lengths in steps.items()},
            seconds=Quantiles.of(seconds),
            label_counts=_named(self.info.labels, labels.sum(axis=0)),
            label_rates=_named(self.info.labels, labels.mean(axis=0)),
            co_occurrence=tuple(map(tuple, (labels.T @ labels).tolist())),
            labels_per_sample=float(labels.sum(axis=1).mean()),
            without_label=int((~labels.any(axis=1)).sum()),
            missing=_named(modalities, absent.sum(axis=0)),
            without_features=int(absent.all(axis=1).sum()),
            cleaned_values=_named(modalities, cleaned.sum(axis=0)),
            cleaned_samples=_named(modalities, (cleaned > 0).sum(axis=0)),
            constant_features=self.constant,
            repeated_ids=_repeated(self.sample_ids, self.sample_ids),
            repeated_features=_repeated(self.digests, self.sample_ids),
        )


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


def _absent(rows: pa.Table, info: TableInfo) -> np.ndarray:
    """(N, M) bool, where a sample lacks a modality."""
    return np.stack([rows[m].is_null().to_numpy() for m in info.modalities], axis=1)


def _common_info(tables: dict[Split, SampleTable]) -> TableInfo:
    if set(tables) != set(SPLITS):
        raise InputError("data report", "tables", f"one for each of {SPLITS}", list(tables))
    first = tables["train"].info
    for split, table in tables.items():
        expected = first.model_copy(update={"split": split})
        for name in TableInfo.model_fields:
            if getattr(table.info, name) != getattr(expected, name):
                raise InputError(
                    table.path,
                    name,
                    f"{getattr(expected, name)}, as in the table of the training split",
                    getattr(table.info, name),
                    "Run the alignment stage again for all splits.",
                )
    return first


def _named(names: Sequence[str], values: np.ndarray) -> dict:
    return dict(zip(names, values.tolist(), strict=True))


def _repeated(keys: Iterable[str | bytes], names: list[str]) -> Repeated:
    seen: dict[str | bytes, str] = {}
    pairs = []
    for key, name in zip(keys, names, strict=True):
        if key in seen:
            pairs.append((seen[key], name))
        seen.setdefault(key, name)
    return Repeated(count=len(pairs), examples=tuple(pairs[:_EXAMPLES]))


def _shared(scans: dict[Split, _Scan]) -> Iterator[Shared]:
    """Sample ids and identical features that two splits have in common."""
    for first, second in combinations(scans, 2):
        one, other = scans[first], scans[second]
        named = dict(zip(one.digests, one.sample_ids, strict=True))
        twins = zip(other.digests, other.sample_ids, strict=True)
        common: dict[Literal["sample ids", "features"], set[str]] = {
            "sample ids": set(one.sample_ids) & set(other.sample_ids),
            "features": {f"{named[d]} = {name}" for d, name in twins if d in named},
        }
        for what, members in common.items():
            examples = tuple(sorted(members)[:_EXAMPLES])
            yield Shared(splits=(first, second), what=what, count=len(members), examples=examples)


def _beside_published(
    info: TableInfo, corpus: Corpus, splits: dict[Split, SplitReport]
) -> Iterator[CountBesidePublished]:
    if info.synthetic:
        return
    ours: dict[str, dict[str, int]] = {s: _counts(info, counted) for s, counted in splits.items()}
    ours["all"] = {what: sum(ours[s][what] for s in splits) for what in ours["train"]}
    for what, by_split in corpus.published_counts.items():
        for split, published in by_split.items():
            if what in (counts := ours[split]):
                yield CountBesidePublished(
                    what=what, split=split, ours=counts[what], published=published
                )


def _counts(info: TableInfo, counted: SplitReport) -> dict[str, int]:
    """What of the published counts we know of a split."""
    groups = {"groups": counted.groups} if info.groups_known else {}
    labels = {f"samples with {label}": count for label, count in counted.label_counts.items()}
    return {"samples": counted.samples, **groups, **labels}


def _findings(
    info: TableInfo,
    splits: dict[Split, SplitReport],
    shared: Iterable[Shared],
    published: Iterable[CountBesidePublished],
) -> Iterator[str]:
    if not info.groups_known:
        yield (
            "the source does not say which samples belong to one recording: each counts as a group "
            "of its own, so intervals and guarantees may promise too much, and splits may share "
            "recordings"
        )
    for row in shared:
        if row.count:
            names = ", ".join(row.examples)
            yield f"{row.splits[0]} and {row.splits[1]} share {row.count} {row.what}: {names}"
    for split, counted in splits.items():
        yield from (f"{split}: {finding}" for finding in _split_findings(counted))
    for beside in published:
        if beside.difference:
            kind = "more" if beside.difference > 0 else "fewer"
            yield (
                f"{beside.split}: {beside.what}: {beside.ours}, {abs(beside.difference)} {kind} "
                f"than the published {beside.published}"
            )


def _split_findings(counted: SplitReport) -> Iterator[str]:
    samples = counted.samples
    for label, count in counted.label_counts.items():
        if count in (0, samples):
            yield f"{'no' if count == 0 else 'every'} sample has the label {label}"
    for modality, missing in counted.missing.items():
        if missing:
            yield f"{missing} of {samples} samples lack {modality}"
        if cleaned := counted.cleaned_values[modality]:
            touched = counted.cleaned_samples[modality]
            yield f"{cleaned} {modality} values were not finite, in {touched} samples"
        if constant := counted.constant_features[modality]:
            yield f"{len(constant)} {modality} features never change"
    if counted.without_features:
        yield f"{counted.without_features} samples have no feature at all"
    if counted.repeated_ids.count:
        yield f"{counted.repeated_ids.count} samples repeat an id of another"
    if counted.repeated_features.count:
        yield f"{counted.repeated_features.count} samples repeat the features of another"
