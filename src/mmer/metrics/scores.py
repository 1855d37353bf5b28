"""Scores of one system on one split, beside the truth and the model that gave them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from mmer.errors import InputError
from mmer.metrics.counts import number_groups
from mmer.samples.table import Origin, fixed_rows

_METADATA_KEY = b"mmer_scores"


class ScoresInfo(Origin):
    """What the scores are of; synthetic if the samples are, or those that the system learned from.

    Attributes:
        system, title: Key in SYSTEMS, and name for readers.
        model: Digest of the model that gave the scores.
        fixed_threshold: Of systems with nothing to calibrate, the one that is part of them.
        recipe: Digest of the system's settings without their seed.
        seed: Of systems that draw random numbers in training, the one that they were drawn from.
        without: The part of the system that was taken away, if one was.
        kept_epoch: Of systems trained in epochs, the one that was kept, counted from 1.
        epoch_groups: Number of validation groups on which alone it was chosen, and which the scores
            on validation leave out; 0 if it was on all of them, or there are no epochs.
    """

    system: str
    title: str
    model: str
    recipe: str = ""
    fixed_threshold: float | None = None
    seed: int | None = None
    without: str | None = None
    kept_epoch: int | None = None
    epoch_groups: int = 0


@dataclass(frozen=True)
class Scores:
    """What calibration and evaluation start from.

    Attributes:
        info: What they are of.
        scores: (N, L) float, in [0, 1]: larger means the label is more likely present.
        truth: (N, L) uint8, 1 where the label is present.
        sample_ids: N names.
        group_ids: N names of the group (a video, a dialogue, a series) that a sample belongs to.

    Raises:
        InputError: Sizes do not match, there is no sample, a score is not in [0, 1], or a truth is
            not 0 or 1.
    """

    info: ScoresInfo
    scores: np.ndarray
    truth: np.ndarray
    sample_ids: tuple[str, ...]
    group_ids: tuple[str, ...]

    def true_labels(self, sample: int) -> tuple[str, ...]:
        """The labels that a sample has."""
        return tuple(np.array(self.labels)[self.truth[sample] > 0].tolist())

    def __post_init__(self) -> None:
        where = f"scores of {self.info.title} on {self.info.split}"
        expected = (len(self.sample_ids), len(self.labels))
        if not self.sample_ids:
            raise InputError(where, "", "at least one sample", "none")
        for name, values in (("scores", self.scores), ("truth", self.truth)):
            if values.shape != expected:
                raise InputError(where, name, f"shape {expected}", values.shape)
        if len(self.group_ids) != len(self.sample_ids):
            raise InputError(where, "group_ids", f"{expected[0]} names", len(self.group_ids))
        inside = (self.scores >= 0) & (self.scores <= 1)
        if not inside.all():
            row, column = np.argwhere(~inside)[0]
            key = f"{self.sample_ids[row]}, {self.labels[column]}"
            raise InputError(where, key, "a score in [0, 1]", self.scores[row, column])
        if not np.isin(self.truth, (0, 1)).all():
            raise InputError(where, "truth", "0 or 1", np.unique(self.truth))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.info.labels

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) numbers 0 .. G-1 of the samples' groups."""
        return number_groups(self.group_ids)

    def to_arrow(self) -> pa.Table:
        """As an Arrow table: ids, truth and scores, the rest in the schema's metadata."""
        columns = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), len(self.labels))
            for name, rows in (
                ("truth", self.truth.astype(np.uint8)),
                ("score", self.scores.astype(np.float64)),
            )
        }
        names = {"sample_id": list(self.sample_ids), "group_id": list(self.group_ids)}
        table = pa.table({**names, **columns})
        return table.replace_schema_metadata({_METADATA_KEY: self.info.to_json()})

    @classmethod
    def from_arrow(cls, table: pa.Table, where: object = "scores") -> Scores:
        """The inverse of `to_arrow`.

        Raises:
            InputError: The table carries no scores' metadata.
        """
        metadata = table.schema.metadata or {}
        if _METADATA_KEY not in metadata:
            raise InputError(where, "schema metadata", "the key 'mmer_scores'", list(metadata))
        info = ScoresInfo.from_json(metadata[_METADATA_KEY], where)
        truth, scores = (fixed_rows(table[name].combine_chunks()) for name in ("truth", "score"))
        names = (tuple(table[name].to_pylist()) for name in ("sample_id", "group_id"))
        return cls(info, scores, truth, *names)
