"""Prediction: new files are scored by a registered model, and put beside what it was made with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmer.corpora.corpus import Ingestion
from mmer.errors import InputError
from mmer.evaluation.drift import Drift, flags, modality_drift, prediction_statistics
from mmer.registry.loading import RegisteredVersion
from mmer.registry.new_samples import NewFiles, NewSamples, Part, opened, parts
from mmer.registry.predictions import PredictionStream, predicted
from mmer.registry.predictor import Choice
from mmer.registry.table import DECISIONS
from mmer.reporting.drift import drift_page
from mmer.samples.batches import Samples
from mmer.samples.statistics import sample_statistics

logger = logging.getLogger(__name__)


def open_new_files(
    new: NewFiles, model: RegisteredVersion, settings: Ingestion, workspace: Path, corpus: str
) -> NewSamples:
    """Open and check what is to be scored; the corpus's own files are aligned."""
    found = opened(new, model.predictor, corpus, settings, workspace)
    logger.info("%d samples in %d files", found.rows, len(new.raw))
    return found


def predict_samples(model: RegisteredVersion, new: NewSamples, choice: Choice) -> PredictionStream:
    """Probabilities, labels and sets of every sample, made while they are written."""
    logger.info("Scored by %s, version %s", model.name, model.number)
    return predicted(model, new, choice)


def measure_drift(
    model: RegisteredVersion, new: NewSamples, predictions: PredictionStream
) -> Drift:
    """The new samples, and what is predicted of them, beside what the model was made with.

    Raises:
        InputError: None of them could be scored; the predictions, which are kept, say why.
    """
    info, reference = predictions.info, model.reference
    if reference is None:
        where, expected = f"{model.name}, version {model.number}", "what it was made with"
        raise InputError(where, "reference", expected, "nothing", "Train and register it again.")
    features = sample_statistics(_readable(part) for part in parts(new, model.predictor))
    said = prediction_statistics(_said(predictions, info.labels), len(info.labels))
    drifts = tuple(
        modality_drift(reference.features, features, modality) for modality in features.modalities
    )
    refused = new.rows - said.samples
    if not said.samples:
        expected, remedy = "a sample that can be scored", "The column `refused` says why."
        raise InputError("predictions", "", expected, f"{refused} that cannot", remedy)
    if refused:
        logger.warning("%d of %d samples could not be scored", refused, new.rows)
    return Drift(
        corpus=info.corpus,
        name=info.name,
        version=info.version,
        model=info.model,
        synthetic=info.synthetic,
        labels=info.labels,
        samples=new.rows,
        refused=refused,
        modalities=drifts,
        reference=reference,
        features=features,
        predictions=said,
        flags=flags(drifts, reference, said, features.samples, refused),
    )


def render_drift(drift: Drift) -> str:
    """The page of it."""
    for flag in drift.flags:
        logger.warning("%s: %.3g with training, %.3g now", flag.what, flag.before, flag.now)
    return drift_page(drift)


def _readable(part: Part) -> Samples:
    """A part without the samples that could not be read, whose features are not known."""
    rows = [n for n in range(len(part.samples)) if n not in part.faults]
    return part.samples.take(np.array(rows, np.int64))


def _said(
    predictions: PredictionStream, labels: tuple[str, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Probabilities (n, L) and which labels are predicted, of the samples that were scored."""
    for batch in predictions.batches():
        scored = pa.Table.from_batches([batch]).filter(batch["refused"].is_null())
        given = np.stack([scored[label].to_numpy() for label in labels], axis=1)
        names = scored[DECISIONS].to_pylist()
        decided = np.array([[label in one for label in labels] for one in names], bool)
        yield given, decided.reshape(given.shape)
