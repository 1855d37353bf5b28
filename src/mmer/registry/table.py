"""The answer to a request, as a table, and what a request may ask for, as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import ValidationError

from mmer.errors import InputError
from mmer.registry.predictor import Choice, Predictions, Predictor
from mmer.registry.requests import check_names

DECISIONS, SET, GUARANTEE, MODEL = "emotions", "set", "guarantee", "model"
"""Columns beside the labels' probabilities: labels, prediction set, its guarantee, digest."""


def choice_of(params: Mapping[str, Any]) -> Choice:
    """What parameters ask for.

    Raises:
        InputError: A parameter is not known, or cannot have this value.
    """
    check_names(params, tuple(Choice.model_fields), "params")
    try:
        return Choice.model_validate(dict(params), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        expected = f"parameters among {', '.join(Choice.model_fields)}, of their types"
        raise InputError("params", key, expected, first["msg"]) from error


def answer_table(predictor: Predictor, found: Predictions) -> pd.DataFrame:
    """One row per sample."""
    answer = pd.DataFrame(found.probabilities, columns=list(found.labels))
    answer[DECISIONS] = pd.Series(found.names(found.predicted), dtype=object)
    if found.sets is not None:
        answer[SET] = pd.Series(found.names(found.sets), dtype=object)
        answer[GUARANTEE] = found.guarantee
    answer[MODEL] = predictor.digest
    return answer
