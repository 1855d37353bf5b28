"""Predictions that are made while they are written, a few samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mmer.errors import InputError
from mmer.registry.loading import RegisteredVersion
from mmer.registry.new_samples import NewSamples, Part, parts
from mmer.registry.predictor import Choice, Predictions, Predictor, guarantee
from mmer.registry.table import DECISIONS, SET
from mmer.schema import Record

_KEY = b"mmer_predictions"
_NAMES = pa.list_(pa.string())


class PredictionsInfo(Record):
    """What predictions are of, in the file's metadata.

    Attributes:
        name, version: Of the registered model.
        model: Its digest.
        synthetic: True if the model, or some of the samples, are.
        guarantee: What holds of the prediction sets; empty if there are none.
    """

    corpus: str
    labels: tuple[str, ...]
    name: str
    version: str
    model: str
    synthetic: bool
    target: str
    guarantee: str


@dataclass(frozen=True)
class PredictionStream:
    """Predictions as record batches, which come one after the other whenever they are asked for.

    Columns: `file`, `sample_id`, `group_id`; a probability for each label; `emotions`, the labels
    predicted; `set`, if asked for; `version` ("name/number") and `model` (digest); and `refused`,
    why a sample has no prediction, null if it has.
    """

    schema: pa.Schema
    rows: int
    batches: Callable[[], Iterator[pa.RecordBatch]]

    @property
    def info(self) -> PredictionsInfo:
        """What the schema says.

        Raises:
            InputError: It is that of no predictions.
        """
        metadata = self.schema.metadata or {}
        if _KEY not in metadata:
            raise InputError("predictions", "schema metadata", f"the key {_KEY!r}", list(metadata))
        return PredictionsInfo.from_json(metadata[_KEY], "predictions")


def predicted(model: RegisteredVersion, new: NewSamples, choice: Choice) -> PredictionStream:
    """What a model says of new samples, made as it is read.

    Raises:
        InputError: What is chosen is not there to choose; at once, not while it is read.
    """
    predictor = model.predictor
    conformal = predictor.conformal(choice)
    predictor.thresholds(choice.target)
    info = PredictionsInfo(
        corpus=new.corpus,
        labels=predictor.labels,
        name=model.name,
        version=model.number,
        model=predictor.digest,
        synthetic=new.synthetic or predictor.info.synthetic,
        target=choice.target or predictor.targets[0],
        guarantee=guarantee(conformal) if conformal else "",
    )
    schema = _schema(info, with_sets=conformal is not None)

    def batches() -> Iterator[pa.RecordBatch]:
        for part in parts(new, predictor):
            yield _batch(schema, info, part, predictor, choice)

    return PredictionStream(schema, new.rows, batches)


def _schema(info: PredictionsInfo, *, with_sets: bool) -> pa.Schema:
    named = pa.dictionary(pa.int32(), pa.string())
    fields = [
        pa.field("file", named, nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string()),
        *(pa.field(label, pa.float64()) for label in info.labels),
        pa.field(DECISIONS, _NAMES),
        *([pa.field(SET, _NAMES)] if with_sets else []),
        pa.field("version", named, nullable=False),
        pa.field("model", named, nullable=False),
        pa.field("refused", pa.string()),
    ]
    return pa.schema(fields, metadata={_KEY: info.to_json()})


def _batch(
    schema: pa.Schema, info: PredictionsInfo, part: Part, predictor: Predictor, choice: Choice
) -> pa.RecordBatch:
    count = len(part.samples)
    ids = part.samples.sample_ids
    faults = predictor.refusals(part.samples).items()
    refused = {n: str(fault.error(f"sample {ids[n]}")) for n, fault in faults} | part.faults
    good = np.array([n for n in range(count) if n not in refused], np.int64)
    found = predictor.predict(part.samples.take(good), choice)
    constant = {
        "file": str(part.source),
        "version": f"{info.name}/{info.version}",
        "model": info.model,
    }
    columns: dict[str, list] = {name: [value] * count for name, value in constant.items()}
    columns |= {"sample_id": list(ids), "group_id": part.group_ids}
    columns |= _answers(found, good, count)
    columns["refused"] = [refused.get(n) for n in range(count)]
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _answers(found: Predictions, good: np.ndarray, count: int) -> dict[str, list]:
    """Columns of the answers, null for samples that are not among the `good`."""
    columns = {label: found.probabilities[:, k].tolist() for k, label in enumerate(found.labels)}
    columns[DECISIONS] = found.names(found.predicted)
    if found.sets is not None:
        columns[SET] = found.names(found.sets)
    spread: dict[str, list] = {name: [None] * count for name in columns}
    for name, values in columns.items():
        for n, value in zip(good, values, strict=True):
            spread[name][n] = value
    return spread
