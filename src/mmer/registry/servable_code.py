"""The code that MLflow runs when it loads a registered model (a model from code, no pickle).

A request is a table with a column for each modality, or a list of samples; `mmer.registry.requests`
says what may stand in it, and refuses the rest. The answer has one row per sample.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

import mmer
from mmer.errors import InputError
from mmer.registry.own_files import check_files
from mmer.registry.predictor import SYSTEM, Predictor
from mmer.registry.requests import requested_samples
from mmer.registry.table import answer_table, choice_of

logger = logging.getLogger(__name__)


class Refused(MlflowException):
    """What MLflow's server answers with: its message, and nothing of the request or of the code.

    The server would put the whole request in front of the message, which can be megabytes.
    """

    def __init__(self, message: str, error_code: int) -> None:
        self._said = message
        super().__init__(message, error_code=error_code)

    @property
    def message(self) -> str:
        return self._said

    @message.setter
    def message(self, _: str) -> None:
        pass

    def __str__(self) -> str:
        return self._said


class EmotionModel(PythonModel):
    """Calibrated probabilities, labels, and prediction sets with their guarantee."""

    def load_context(self, context: PythonModelContext) -> None:
        """Make the system ready to score.

        Raises:
            InputError: A file is not what was saved, or the thresholds belong to another model.
        """
        parts = Path(context.artifacts[Path(SYSTEM).stem]).parent
        try:
            check_files(parts.parent)
            self.predictor = Predictor.read(parts)
        finally:
            _hide_copy(parts.parent)

    def predict(
        self,
        context: PythonModelContext,
        # Or a list of samples; but any other hint MLflow would take for a schema.
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row of probabilities and labels for each sample, in the request's order.

        Raises:
            Refused: Something in the request cannot be used; the message names row and field.
        """
        try:
            choice = choice_of(params or {})
            samples = requested_samples(self.predictor, model_input)
            answer = answer_table(self.predictor, self.predictor.predict(samples, choice))
        except InputError as error:
            raise Refused(str(error), INVALID_PARAMETER_VALUE) from error
        except Exception as error:
            # MLflow would send the stack to the client.
            logger.exception("A prediction failed")
            message = "The prediction failed; what happened stands in the server's log."
            raise Refused(message, INTERNAL_ERROR) from error
        if isinstance(model_input, pd.DataFrame):
            answer.index = model_input.index
        return answer


def _hide_copy(model: Path) -> None:
    """Take the model's copy of the package, if it is that which runs here, for the model alone.

    MLflow puts the copy's folder in front of all others. What is imported later, here or by a
    process that is started, must not find it: neither the whole package, of which the copy has a
    part, nor the copy of another model.
    """
    copy = model.resolve()
    sys.path[:] = [p for p in sys.path if not p or not Path(p).resolve().is_relative_to(copy)]
    if Path(mmer.__file__).resolve().is_relative_to(copy):
        for name in [name for name in sys.modules if name.partition(".")[0] == mmer.__name__]:
            del sys.modules[name]


set_model(EmotionModel())
