"""Training: CARAT on the training samples, its best epoch chosen on the validation samples."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from mmer.evaluation.baselines import fit_baselines
from mmer.evaluation.figures import learning_curves
from mmer.models.carat import CaratSettings
from mmer.models.weights import TrainedModel
from mmer.pipelines.parameters import Parameters
from mmer.samples.batches import pack
from mmer.samples.table import table_info
from mmer.training.loop import TrainingSettings, train


class TrainingParameters(Parameters):
    """The network and how it is trained."""

    carat: CaratSettings = CaratSettings()
    optimisation: TrainingSettings = TrainingSettings()


def train_carat(
    train_samples: pa.Table, valid_samples: pa.Table, parameters: TrainingParameters
) -> tuple[TrainedModel, list[dict[str, float]]]:
    """CARAT with the weights of its best epoch, and a record of every epoch."""
    info = table_info(train_samples)
    result = train(
        pack(train_samples), pack(valid_samples), parameters.carat, parameters.optimisation
    )
    model = TrainedModel.from_network(
        result.network,
        labels=info.labels,
        corpus=info.corpus,
        synthetic=info.synthetic,
        provenance={"samples": info.fingerprint, "best_epoch": str(result.best_epoch)},
    )
    return model, result.history


def fit_simple_baselines(train_samples: pa.Table) -> dict[str, Any]:
    """Label prior and logistic regression, from the training samples alone."""
    return fit_baselines(train_samples).to_dict()


def plot_learning_curves(history: list[dict[str, float]], model: TrainedModel) -> go.Figure:
    """Every term of the loss and the validation micro-F1 over the epochs."""
    return learning_curves(history, synthetic=model.synthetic)
