"""The code that MLflow runs when it loads a registered model (a model from code, no pickle).

A request is a table with the columns text, visual and audio; a cell is a sequence of T steps of D
numbers (nested lists or an array), or nothing where the sample lacks the modality.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from mmer.calibration.calibration import Calibration, decide
from mmer.errors import InputError
from mmer.models.weights import TrainedModel
from mmer.registry.servable import DECISIONS
from mmer.samples.batches import PackedSamples
from mmer.samples.table import MODALITIES
from mmer.training.scoring import score_samples


class EmotionModel(PythonModel):
    """Scores per label, and the labels whose score passes the threshold made for these weights."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network.

        Raises:
            InputError: The thresholds belong to other weights.
        """
        model = TrainedModel.load(Path(context.artifacts["weights"]))
        text = Path(context.artifacts["calibration"]).read_text(encoding="utf-8")
        self._calibration = Calibration.from_dict(json.loads(text))
        self._calibration.check_weights(model.digest)
        self._labels, self._widths = model.labels, model.widths
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = model.build(device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict | None = None
    ) -> pd.DataFrame:
        """One row of scores and decisions for each row of sequences.

        Raises:
            InputError: A sequence's width, shape or values cannot be used, or a row has none.
        """
        scores = score_samples(self._network, self._pack(model_input))  # (N, L)
        decided = decide(scores, self._calibration)  # (N, L)
        answer = pd.DataFrame(scores, columns=list(self._labels), index=model_input.index)
        answer[DECISIONS] = [
            [label for label, yes in zip(self._labels, row, strict=True) if yes] for row in decided
        ]
        return answer

    def _pack(self, table: pd.DataFrame) -> PackedSamples:
        count = len(table)
        values, starts, lengths = {}, {}, {}
        for modality in MODALITIES:
            cells = table[modality] if modality in table else [None] * count
            rows = [
                _sequence(row, modality, cell, self._widths[modality])
                for row, cell in enumerate(cells)
            ]
            lengths[modality] = np.array([len(x) for x in rows], np.int64)
            starts[modality] = torch.from_numpy(np.cumsum(lengths[modality]) - lengths[modality])
            values[modality] = torch.from_numpy(_joined(rows, self._widths[modality]))
        _check_present(lengths, count)
        labels = torch.zeros(count, len(self._labels))
        return PackedSamples(
            values, starts, {m: torch.from_numpy(n) for m, n in lengths.items()}, labels, lengths
        )


def _sequence(row: int, modality: str, cell: Any, width: int) -> np.ndarray:
    """A cell as (T, D) float32; T = 0 where there is nothing.

    Raises:
        InputError: It is no sequence of `width` finite numbers each.
    """
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
        raise InputError(
            where, modality, "finite numbers", f"{steps[step, column]} in step {step}, {column}"
        )
    return steps


def _joined(rows: Iterable[np.ndarray], width: int) -> np.ndarray:
    """(R, D): all steps of all samples."""
    return np.concatenate([np.zeros((0, width), np.float32), *rows])


def _check_present(lengths: dict[str, np.ndarray], count: int) -> None:
    absent = ~np.any([lengths[m] > 0 for m in MODALITIES], axis=0)
    if absent.any():
        raise InputError(
            f"row {int(np.argmax(absent))}", "", f"at least one of {', '.join(MODALITIES)}", "none"
        )


set_model(EmotionModel())
