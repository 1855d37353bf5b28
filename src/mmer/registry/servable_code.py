"""The code that MLflow runs when it loads a registered model (a model from code, no pickle).

A request is a table with a column for each modality; a cell is a sequence of T steps of D numbers
(nested lists or an array), or nothing where the sample lacks the modality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from mmer.calibration.calibration import Calibration, probabilities
from mmer.errors import InputError
from mmer.metrics.decisions import decide
from mmer.registry.servable import DECISIONS
from mmer.samples.batches import Samples, samples_of
from mmer.samples.table import TableInfo
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted

_NOT_WITHOUT = (
    "This model has not learned to do without: it would be worse than no model. Train it with "
    "`training.modality_dropout`, or on samples that lack the modality."
)


class EmotionModel(PythonModel):
    """Calibrated probabilities, and the labels whose score passes the threshold made for it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Make the system ready to score.

        Raises:
            InputError: The thresholds belong to another model.
        """
        fitted = load_fitted(Path(context.artifacts["system"]))
        info = fitted.info
        calibration = Calibration.read(Path(context.artifacts["calibration"]))
        calibration.check(fitted.digest, info.fingerprint)
        self._calibration = calibration
        self._thresholds = np.array(calibration.thresholds)  # (L,)
        self._info = TableInfo(
            corpus=info.corpus,
            split="test",
            labels=info.labels,
            features=info.features,
            alignment="none",
            synthetic=info.synthetic,
            fingerprint=info.fingerprint,
        )
        self._may_lack = info.may_lack
        self._scorer = SYSTEMS[info.system].scorer(fitted, torch.device("cpu"))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict | None = None
    ) -> pd.DataFrame:
        """One row of probabilities and decisions for each row of sequences.

        Raises:
            InputError: The columns are not the modalities; a sequence's width, shape or values
                cannot be used, or a row has none.
        """
        samples, labels = self._samples(model_input), self._info.labels
        empty = np.zeros((0, len(labels)))
        scores = self._scorer.scores(samples) if len(samples) else empty  # (N, L)
        decided = decide(scores, self._thresholds)  # (N, L)
        given = probabilities(scores, self._calibration) if len(scores) else scores
        answer = pd.DataFrame(given, columns=list(labels), index=model_input.index)
        answer[DECISIONS] = [
            [label for label, yes in zip(labels, row, strict=True) if yes] for row in decided
        ]
        return answer

    def _samples(self, table: pd.DataFrame) -> Samples:
        widths = self._info.widths
        if set(table.columns) != set(widths):
            found = ", ".join(map(str, table.columns))
            raise InputError("request", "columns", ", ".join(widths), found)
        features = {
            modality: [
                _sequence(row, modality, cell, width) for row, cell in enumerate(table[modality])
            ]
            for modality, width in widths.items()
        }
        for row, sequences in enumerate(zip(*features.values(), strict=True)):
            if not any(map(len, sequences)):
                raise InputError(f"row {row}", "", f"at least one of {', '.join(widths)}", "none")
            for modality, steps in zip(widths, sequences, strict=True):
                if len(steps) == 0 and modality not in self._may_lack:
                    raise InputError(f"row {row}", modality, "steps of it", "none", _NOT_WITHOUT)
        return samples_of(self._info, features, tuple(map(str, table.index)))


def _sequence(row: int, modality: str, cell: Any, width: int) -> np.ndarray:
    """A cell as (T, D) float32; T = 0 where there is nothing."""
    if cell is None or (np.isscalar(cell) and pd.isna(cell)) or len(cell) == 0:
        return np.zeros((0, width), np.float32)
    where, expected = f"row {row}", f"steps of {width} numbers each"
    try:
        steps = np.asarray([np.asarray(step, np.float32) for step in cell])
    except (TypeError, ValueError) as error:
        raise InputError(where, modality, expected, error) from error
    if steps.ndim != 2 or steps.shape[1] != width:
        raise InputError(where, modality, expected, f"shape {steps.shape}")
    if not np.isfinite(steps).all():
        step, column = np.argwhere(~np.isfinite(steps))[0]
        found = f"{steps[step, column]} in step {step}, {column}"
        raise InputError(where, modality, "finite numbers", found)
    return steps


set_model(EmotionModel())
