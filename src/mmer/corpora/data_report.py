"""What a corpus' sample tables hold, and what of it deserves a second look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from hashlib import blake2b
from itertools import combinations

import numpy as np
import pyarrow as pa

from mmer.errors import InputError
from mmer.evaluation.failures import label_pairs
from mmer.evaluation.published import CorpusCounts, published_counts
from mmer.samples.table import MODALITIES, SPLITS, TableInfo, fixed_rows, flat_features, table_info

_QUANTILES = (0, 5, 25, 50, 75, 95, 100)
_EXAMPLES = 5


def data_report(tables: dict[str, pa.Table]) -> dict:
    """Describe the sample tables of a corpus.

    The tables are read once, record batch by record batch, so that tables opened by memory map may
    be larger than memory; what is kept per sample is its ids, lengths and a digest.

    Args:
        tables: "train", "valid" and "test" -> sample table.

    Returns:
        What JSON can hold: what the tables are (`corpus`, `synthetic`, `alignment`, `labels`,
        `features`, `fingerprint`); `splits`: split -> counts, lengths in steps, durations in
        seconds, labels, missing modalities, cleaned values, constant features and duplicates;
        `shared`: what more than one split has; `published`: counts beside the published ones;
        `findings`: sentences on what deserves a look.

    Raises:
        InputError: A split is missing or empty, or they are not of one corpus.
    """
    info = _common_info(tables)
    scans = {split: _Scan(info, split, table) for split, table in tables.items()}
    splits = {split: scan.describe() for split, scan in scans.items()}
    report = {
        "corpus": info.corpus,
        "synthetic": info.synthetic,
        "alignment": info.alignment,
        "labels": list(info.labels),
        "features": {m: asdict(info.features[m]) for m in MODALITIES},
        "fingerprint": info.fingerprint,
        "splits": splits,
        "shared": _shared(scans),
        "published": _beside_published(info, splits),
    }
    return {**report, "findings": _findings(report)}


class _Scan:
    """One pass over one split's table."""

    def __init__(self, info: TableInfo, split: str, table: pa.Table) -> None:
        self.info = info
        self.sample_ids: list[str] = []
        self.group_ids: list[str] = []
        self.digests: list[bytes] = []
        self.lengths: dict[str, list[np.ndarray]] = {m: [] for m in MODALITIES}
        self.absent = dict.fromkeys(MODALITIES, 0)
        self.least = {m: np.full(info.widths[m], np.inf) for m in MODALITIES}
        self.most = {m: np.full(info.widths[m], -np.inf) for m in MODALITIES}
        self.labels: list[np.ndarray] = []
        self.cleaned: list[np.ndarray] = []
        self.durations: list[np.ndarray] = []
        for batch in table.to_batches():
            self._read(batch)
        if not self.sample_ids:
            raise InputError(f"{info.corpus} {split}", "", "at least one sample", "none")

    def _read(self, batch: pa.RecordBatch) -> None:
        self.sample_ids += batch["sample_id"].to_pylist()
        self.group_ids += batch["group_id"].to_pylist()
        self.labels.append(fixed_rows(batch["labels"]))
        self.cleaned.append(fixed_rows(batch["cleaned"]))
        times = (batch[name].to_numpy(zero_copy_only=False) for name in ("end", "start"))
        self.durations.append(np.subtract(*times))
        hashes = [blake2b(digest_size=16) for _ in range(batch.num_rows)]
        for modality in MODALITIES:
            flat, offsets = flat_features(batch[modality])
            self.absent[modality] += batch[modality].null_count
            self.lengths[modality].append(np.diff(offsets))
            if len(flat):
                self.least[modality] = np.minimum(self.least[modality], flat.min(axis=0))
                self.most[modality] = np.maximum(self.most[modality], flat.max(axis=0))
            for i, digest in enumerate(hashes):
                rows = flat[offsets[i] : offsets[i + 1]]
                digest.update(len(rows).to_bytes(8, "little"))
                digest.update(rows.data)
        self.digests += [digest.digest() for digest in hashes]

    def describe(self) -> dict:
        labels, cleaned = np.concatenate(self.labels), np.concatenate(self.cleaned)
        lengths = {m: np.concatenate(self.lengths[m]) for m in MODALITIES}
        durations = np.concatenate(self.durations)
        counts = labels.sum(axis=0, dtype=np.int64)
        known = durations[~np.isnan(durations)]
        return {
            "samples": len(labels),
            "groups": len(set(self.group_ids)),
            "lengths": {m: _quantiles(n[n > 0]) for m, n in lengths.items()},
            "seconds": _quantiles(known),
            "label_counts": dict(zip(self.info.labels, counts.tolist(), strict=True)),
            "label_rates": dict(
                zip(self.info.labels, (counts / len(labels)).tolist(), strict=True)
            ),
            "co_occurrence": label_pairs(labels).tolist(),
            "labels_per_sample": float(labels.sum(axis=1).mean()),
            "without_label": int((~labels.any(axis=1)).sum()),
            "missing": dict(self.absent),
            "without_features": sum(1 for n in zip(*lengths.values(), strict=True) if not any(n)),
            "cleaned_values": dict(zip(MODALITIES, cleaned.sum(axis=0).tolist(), strict=True)),
            "cleaned_samples": dict(
                zip(MODALITIES, (cleaned > 0).sum(axis=0).tolist(), strict=True)
            ),
            "constant_features": {
                m: np.nonzero(self.least[m] == self.most[m])[0].tolist() for m in MODALITIES
            },
            "duplicates": {
                "sample_ids": _repeated(self.sample_ids, self.sample_ids),
                "features": _repeated(self.feature_digests(), self.sample_ids),
            },
        }

    def feature_digests(self) -> list[bytes]:
        """Digest of each sample's features; its own name where it has none, to equal no other."""
        nothing = blake2b((0).to_bytes(8, "little") * len(MODALITIES), digest_size=16).digest()
        return [
            name.encode() if digest == nothing else digest
            for digest, name in zip(self.digests, self.sample_ids, strict=True)
        ]


def _common_info(tables: dict[str, pa.Table]) -> TableInfo:
    if set(tables) != set(SPLITS):
        raise InputError("data report", "tables", f"one for each of {SPLITS}", list(tables))
    infos = {split: table_info(table) for split, table in tables.items()}
    first = next(iter(infos.values()))
    for split, info in infos.items():
        for name in ("corpus", "labels", "widths", "synthetic"):
            ours, expected = getattr(info, name), getattr(first, name)
            if ours != expected:
                raise InputError(f"sample table {split}", name, f"{expected} as elsewhere", ours)
    return first


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    """Minimum, quantiles in percent and maximum; None if there is no value."""
    if not len(values):
        return None
    quantiles = np.percentile(values, _QUANTILES)
    named = {f"{q}%": float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)}
    return {**named, "mean": float(values.mean())}


def _repeated(keys: Iterable[str | bytes], names: list[str]) -> dict:
    """How many samples repeat an earlier one's key, and the first pairs of them."""
    seen: dict[str | bytes, str] = {}
    count = 0
    examples: list[list[str]] = []
    for key, name in zip(keys, names, strict=True):
        if key not in seen:
            seen[key] = name
            continue
        count += 1
        if len(examples) < _EXAMPLES:
            examples.append([seen[key], name])
    return {"count": count, "examples": examples}


def _shared(scans: dict[str, _Scan]) -> list[dict]:
    """Groups, sample ids and identical features that two splits have in common."""
    rows = []
    for first, second in combinations(scans, 2):
        one, other = scans[first], scans[second]
        common = {
            "groups": set(one.group_ids) & set(other.group_ids),
            "sample_ids": set(one.sample_ids) & set(other.sample_ids),
        }
        named = dict(zip(one.feature_digests(), one.sample_ids, strict=True))
        twins = zip(other.feature_digests(), other.sample_ids, strict=True)
        common["features"] = {f"{named[d]} = {name}" for d, name in twins if d in named}
        rows += [
            {
                "splits": [first, second],
                "what": what,
                "count": len(members),
                "examples": sorted(members)[:_EXAMPLES],
            }
            for what, members in common.items()
        ]
    return rows


def _beside_published(info: TableInfo, splits: dict[str, dict]) -> list[dict]:
    """Our counts beside the published ones, each difference explained."""
    published = published_counts(info.corpus)
    if published is None:
        return []
    ours = [
        (what, split, counted[what])
        for what in ("samples", "groups")
        for split, counted in splits.items()
    ]
    ours += [(what, "all", sum(c[what] for c in splits.values())) for what in ("samples", "groups")]
    ours += [
        (f"samples with {label}", split, count)
        for split, counted in splits.items()
        for label, count in counted["label_counts"].items()
    ]
    rows = []
    for what, split, count in ours:
        expected = published.counts.get((what, split))
        if expected is not None:
            rows.append(
                {
                    "what": what,
                    "split": split,
                    "ours": count,
                    "published": expected,
                    "explanation": _explain(info, published, what, count - expected),
                }
            )
    return rows


def _explain(info: TableInfo, published: CorpusCounts, what: str, difference: int) -> str:
    if info.synthetic:
        return "a synthetic corpus, of a size of its own"
    if difference == 0:
        return "as published"
    kind = "fewer" if difference < 0 else "more"
    reason = (published.why_fewer if difference < 0 else published.why_more)[what.split()[0]]
    return f"{abs(difference)} {kind} than published: {reason}"


def _findings(report: dict) -> list[str]:
    found = []
    for row in report["shared"]:
        if row["count"]:
            splits, what = " and ".join(row["splits"]), row["what"].replace("_", " ")
            examples = ", ".join(row["examples"])
            found.append(f"{splits} share {row['count']} {what}: {examples}")
    for split, counted in report["splits"].items():
        found += [f"{split}: {finding}" for finding in _split_findings(counted)]
    for row in report["published"]:
        if row["ours"] != row["published"] and not report["synthetic"]:
            found.append(f"{row['split']}: {row['what']}: {row['explanation']}")
    return found


def _split_findings(counted: dict) -> list[str]:
    samples, found = counted["samples"], []
    for label, count in counted["label_counts"].items():
        if count in (0, samples):
            found.append(f"{'no' if count == 0 else 'every'} sample has the label {label}")
    for modality in MODALITIES:
        if missing := counted["missing"][modality]:
            found.append(f"{missing} of {samples} samples lack {modality}")
        if cleaned := counted["cleaned_values"][modality]:
            touched = counted["cleaned_samples"][modality]
            found.append(f"{cleaned} {modality} values were not finite, in {touched} samples")
        if constant := counted["constant_features"][modality]:
            found.append(f"{len(constant)} {modality} features never change")
    if counted["without_features"]:
        found.append(f"{counted['without_features']} samples have no feature at all")
    for what, name in (("sample_ids", "an id"), ("features", "the features")):
        if count := counted["duplicates"][what]["count"]:
            found.append(f"{count} samples repeat {name} of another")
    return found
