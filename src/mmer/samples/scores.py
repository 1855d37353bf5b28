"""Scores of one system on one split, beside the truth and the weights that gave them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mmer.errors import InputError


@dataclass(frozen=True)
class Scores:
    """What calibration and evaluation start from.

    Attributes:
        scores: (N, L) float, in [0, 1]: larger means the label is more likely present.
        truth: (N, L) uint8, 1 where the label is present.
        sample_ids: N names.
        group_ids: N names of the video or dialogue that a sample belongs to.
        labels: L emotion names, in column order.
        split: "train", "valid" or "test".
        weights: Digest of the weights that gave the scores.
        synthetic: True if the samples are synthetic.
        system: Name of the system, "CARAT".

    Raises:
        InputError: Sizes do not match, a score is not in [0, 1], or a truth is not 0 or 1.
    """

    scores: np.ndarray
    truth: np.ndarray
    sample_ids: tuple[str, ...]
    group_ids: tuple[str, ...]
    labels: tuple[str, ...]
    split: str
    weights: str
    synthetic: bool
    system: str = "CARAT"

    def __post_init__(self) -> None:
        where = f"scores of {self.system} on {self.split}"
        expected = (len(self.sample_ids), len(self.labels))
        for name, values in (("scores", self.scores), ("truth", self.truth)):
            if values.shape != expected:
                raise InputError(where, name, f"shape {expected}", values.shape)
        if len(self.group_ids) != len(self.sample_ids):
            raise InputError(where, "group_ids", f"{expected[0]} names", len(self.group_ids))
        inside = (self.scores >= 0) & (self.scores <= 1)
        if not inside.all():
            row, column = np.argwhere(~inside)[0]
            raise InputError(
                where,
                f"{self.sample_ids[row]}, {self.labels[column]}",
                "a score in [0, 1]",
                self.scores[row, column],
            )
        if not np.isin(self.truth, (0, 1)).all():
            raise InputError(where, "truth", "0 or 1", np.unique(self.truth))

    def to_arrow(self) -> pa.Table:
        """As an Arrow table: ids, truth and scores, the rest in the schema's metadata."""
        width = len(self.labels)
        metadata = {
            "labels": list(self.labels),
            "split": self.split,
            "weights": self.weights,
            "synthetic": self.synthetic,
            "system": self.system,
        }
        return pa.table(
            {
                "sample_id": list(self.sample_ids),
                "group_id": list(self.group_ids),
                "truth": pa.FixedSizeListArray.from_arrays(
                    pa.array(self.truth.astype(np.uint8).ravel()), width
                ),
                "score": pa.FixedSizeListArray.from_arrays(
                    pa.array(self.scores.astype(np.float64).ravel()), width
                ),
            }
        ).replace_schema_metadata({"mmer_scores": json.dumps(metadata)})

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Scores:
        """The inverse of `to_arrow`.

        Raises:
            InputError: The table carries no scores' metadata.
        """
        metadata = table.schema.metadata or {}
        if b"mmer_scores" not in metadata:
            raise InputError("scores", "schema metadata", "the key 'mmer_scores'", list(metadata))
        record = json.loads(metadata[b"mmer_scores"])
        width = len(record["labels"])
        matrix = {
            name: table[name].combine_chunks().flatten().to_numpy().reshape(-1, width)
            for name in ("truth", "score")
        }
        return cls(
            scores=matrix["score"],
            truth=matrix["truth"],
            sample_ids=tuple(table["sample_id"].to_pylist()),
            group_ids=tuple(table["group_id"].to_pylist()),
            **{**record, "labels": tuple(record["labels"])},
        )
