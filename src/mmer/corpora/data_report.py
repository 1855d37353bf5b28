"""What a corpus' sample tables hold, and what of it deserves a second look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import combinations_with_replacement, islice, pairwise
from typing import Literal

import numpy as np
import pandas as pd
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
        found = [*np.percentile(values, (0, 5, 25, 50, 75, 95, 100)), values.mean()]
        return cls(**dict(zip(cls.model_fields, found, strict=True)))


class SplitReport(Record):
    """What one split holds; modalities and labels by name.

    Attributes:
        lengths: Steps of the samples that have the modality; None if none has.
        seconds: Durations of the samples whose times are known; None if those of none are.
        label_counts, label_rates: Samples that have the label, and their share.
        co_occurrence: (L, L) samples that have both labels.
        without_label: Samples that have none.
        missing, without_features: Samples that lack the modality, or all.
        cleaned_values, cleaned_samples: Values that were not finite and are 0 in the table, and in
            how many samples.
        constant_features: Columns that never change.
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


class Duplicates(Record):
    """Samples that repeat an earlier one of their split, or one of a split before.

    Attributes:
        splits: That of the samples repeated, and that of the `count` samples that repeat them.
        examples: Sample ids of the first pairs.
    """

    splits: tuple[Split, Split]
    what: Literal["id", "features"]
    count: int
    examples: tuple[tuple[str, str], ...]


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
    """What the sample tables of a corpus hold, and in findings, what of it deserves a look."""

    info: TableInfo
    splits: dict[Split, SplitReport]
    duplicates: tuple[Duplicates, ...]
    published: tuple[CountBesidePublished, ...]
    findings: tuple[str, ...]


def data_report(tables: dict[Split, SampleTable], corpus: Corpus) -> DataReport:
    """Describe the sample tables of a corpus.

    The tables are read once, record batch by record batch, so that they may be larger than memory;
    what is kept per sample is its ids, lengths and a digest. Published counts stand beside those of
    a corpus that is not synthetic.

    Raises:
        InputError: A split is missing or empty, the tables were not made together (of other files,
            settings, labels), or two of them share a group.
    """
    info = _common_info(tables)
    read = {split: _read_through(split, table) for split, table in tables.items()}
    splits = {split: counted for split, (counted, _) in read.items()}
    names = {split: names for split, (_, names) in read.items()}
    check_disjoint(f"sample tables of {info.corpus}", {s: names[s]["group_id"] for s in names})
    duplicates = tuple(_duplicates(names))
    published = () if info.synthetic else tuple(_beside_published(info, corpus, splits))
    return DataReport(
        info=info,
        splits=splits,
        duplicates=duplicates,
        published=published,
        findings=tuple(_findings(info, splits, duplicates, published)),
    )


def _common_info(tables: dict[Split, SampleTable]) -> TableInfo:
    if set(tables) != set(SPLITS):
        raise InputError("data report", "tables", f"one for each of {SPLITS}", list(tables))
    first = tables["train"].info
    for split, table in tables.items():
        for name, expected in first.model_copy(update={"split": split}):
            if (found := getattr(table.info, name)) != expected:
                expected = f"{expected}, as in the table of the training split"
                remedy = "Run the alignment stage again for all splits."
                raise InputError(table.path, name, expected, found, remedy)
    return first


def _read_through(split: Split, table: SampleTable) -> tuple[SplitReport, pd.DataFrame]:
    """What a table holds, and of each sample its ids and a digest of its features."""
    rows, info = table.arrow(), table.info
    if rows.num_rows == 0:
        raise InputError(f"{info.corpus} {split}", "", "at least one sample", "none")
    names = rows.select(["sample_id", "group_id"]).to_pandas()
    labels = pd.DataFrame(multi_hot(rows).astype(int), columns=list(info.labels))
    cleaned = pd.DataFrame(
        fixed_rows(rows["cleaned"].combine_chunks()), columns=list(info.modalities)
    )
    absent = pd.DataFrame({m: rows[m].is_null().to_numpy() for m in info.modalities})
    without = absent.all(axis=1)
    hashes = [blake2b(digest_size=16) for _ in range(len(rows))]
    constant = {m: _digest(rows[m], hashes) for m in info.modalities}
    # A sample without any feature equals no other.
    names["digest"] = names["sample_id"].where(without, [digest.digest() for digest in hashes])
    lengths = {m: pc.list_value_length(rows[m]).drop_null().to_numpy() for m in info.modalities}
    report = SplitReport(
        samples=len(names),
        groups=names["group_id"].nunique(),
        lengths={m: Quantiles.of(steps) for m, steps in lengths.items()},
        seconds=Quantiles.of(pc.subtract(rows["end"], rows["start"]).drop_null().to_numpy()),
        label_counts=labels.sum().to_dict(),
        label_rates=labels.mean().to_dict(),
        co_occurrence=(labels.T @ labels).to_numpy().tolist(),
        labels_per_sample=labels.sum(axis=1).mean(),
        without_label=int((labels.sum(axis=1) == 0).sum()),
        missing=absent.sum().to_dict(),
        without_features=int(without.sum()),
        cleaned_values=cleaned.sum().to_dict(),
        cleaned_samples=(cleaned > 0).sum().to_dict(),
        constant_features=constant,
    )
    return report, names


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


def _duplicates(names: dict[Split, pd.DataFrame]) -> Iterator[Duplicates]:
    kinds: dict[str, Literal["id", "features"]] = {"sample_id": "id", "digest": "features"}
    for (first, ours), (second, theirs) in combinations_with_replacement(names.items(), 2):
        for key, what in kinds.items():
            earlier = ours.drop_duplicates(key).set_index(key, drop=False)["sample_id"]
            twins = theirs[key].map(earlier).dropna()
            if first == second:
                twins = twins[ours.duplicated(key)]
            if len(twins):
                pairs = zip(twins, theirs["sample_id"][twins.index], strict=True)
                yield Duplicates(
                    splits=(first, second),
                    what=what,
                    count=len(twins),
                    examples=tuple(islice(pairs, _EXAMPLES)),
                )


def _beside_published(
    info: TableInfo, corpus: Corpus, splits: dict[Split, SplitReport]
) -> Iterator[CountBesidePublished]:
    counts = pd.DataFrame(
        {
            split: {"samples": counted.samples, "groups": counted.groups}
            | {f"samples with {label}": count for label, count in counted.label_counts.items()}
            for split, counted in splits.items()
        }
    )
    counts["all"] = counts.sum(axis=1)
    known = counts.index if info.groups_known else counts.index.drop("groups")
    for what in known.intersection(corpus.published.counts):
        for split, published in corpus.published.counts[what].items():
            ours = int(counts.loc[what, split])
            yield CountBesidePublished(what=what, split=split, ours=ours, published=published)


def _findings(
    info: TableInfo,
    splits: dict[Split, SplitReport],
    duplicates: Iterable[Duplicates],
    published: Iterable[CountBesidePublished],
) -> Iterator[str]:
    if not info.groups_known:
        yield (
            "the source does not say which samples belong to one recording: each counts as a group "
            "of its own, so intervals and guarantees may promise too much, and splits may share "
            "recordings"
        )
    for row in duplicates:
        where = " and ".join(dict.fromkeys(row.splits))
        pairs = ", ".join(" = ".join(dict.fromkeys(pair)) for pair in row.examples)
        yield f"{where}: {row.count} samples repeat the {row.what} of another: {pairs}"
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
