"""The model that is served: weights, thresholds and the code that runs them, in MLflow's registry.

A model's folder holds safetensors, JSON and Python source, no pickle. With its own copy of this
package it runs wherever torch, mlflow and safetensors are installed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from mmer.errors import InputError
from mmer.registry import tracking
from mmer.samples.table import MODALITIES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import PyFuncModel

    from mmer.calibration.calibration import Calibration
    from mmer.models.weights import TrainedModel

DECISIONS = "emotions"
_PACKAGE = Path(__file__).resolve().parents[1]
_CODE = Path(__file__).with_name("servable_code.py")
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "torch")


@dataclass(frozen=True)
class ServableModel:
    """A trained model with what it takes to decide by it.

    Attributes:
        model: Weights, with labels and widths.
        calibration: Thresholds made for these weights.
        metrics: Test metrics as `evaluate` gives them, with the digest of the `weights`.

    Raises:
        InputError: Thresholds or metrics belong to other weights, or to other labels.
    """

    model: TrainedModel
    calibration: Calibration
    metrics: Mapping[str, object]

    def __post_init__(self) -> None:
        self.calibration.check_weights(self.model.digest)
        if self.metrics.get("weights") != self.model.digest:
            raise InputError(
                "test metrics",
                "weights",
                f"metrics of the weights to be registered ({self.model.digest})",
                self.metrics.get("weights"),
                "Evaluate again with these weights.",
            )
        if tuple(self.calibration.labels) != tuple(self.model.labels):
            raise InputError(
                "calibration",
                "labels",
                ", ".join(self.model.labels),
                ", ".join(self.calibration.labels),
            )


def register(servable: ServableModel, name: str, alias: str = "candidate") -> str:
    """Register a model as the next version of `name`, and let `alias` point at it.

    It belongs to the MLflow run that is open, or to one of its own.

    Args:
        servable: What to register.
        name: Of the registered model.
        alias: What the new version is called until another takes the name.

    Returns:
        The number of the version.

    Raises:
        InputError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    with _some_run(name) as run, tempfile.TemporaryDirectory() as scratch:
        try:
            logged = _log(servable, run, name, Path(scratch))
            _create_name(run.client, name)
            version = run.client.create_model_version(
                name,
                # Beside a database, MLflow would look the id up at another tracking URI.
                f"models:/{logged.model_id}" if run.is_remote else logged.artifact_location,
                run.run_id,
                tags=_tags(servable),
                model_id=logged.model_id,
            ).version
            run.client.set_registered_model_alias(name, alias, version)
        except (MlflowException, OSError) as error:
            raise InputError(
                run.uri,
                name,
                "a registry that takes the model",
                tracking.first_line(error),
                "What was trained is kept: once the registry answers, run the last node again.",
            ) from error
    return str(version)


def load(name: str, alias: str = "candidate") -> PyFuncModel:
    """The registered model that `alias` points at, as an MLflow pyfunc.

    Raises:
        InputError: There is none.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import load_model

    uri = _uri()
    client = tracking.connect(uri)
    try:
        version = client.get_model_version_by_alias(name, alias).version
    except MlflowException as error:
        raise InputError(
            uri,
            f"{name}@{alias}",
            "a registered model",
            tracking.first_line(error),
            "Train and register one first.",
        ) from error
    folder = download_artifacts(f"models:/{name}/{version}", tracking_uri=uri, registry_uri=uri)
    return load_model(folder)


def exists(name: str, alias: str = "candidate") -> bool:
    """True if `alias` points at a version of the registered model `name`."""
    from mlflow.exceptions import MlflowException

    try:
        tracking.connect(_uri()).get_model_version_by_alias(name, alias)
    except MlflowException:
        return False
    return True


def _uri() -> str:
    run = tracking.current_run()
    return run.uri if run else tracking.tracking_uri(Path())


@contextmanager
def _some_run(name: str) -> Iterator[tracking.TrackedRun]:
    """The run that is open, or one for the time of registering."""
    if run := tracking.current_run():
        yield run
        return
    run, status = tracking.open_run(Path(), f"register {name}"), "FAILED"
    try:
        yield run
        status = "FINISHED"
    finally:
        run.close(status)


def _log(
    servable: ServableModel, run: tracking.TrackedRun, name: str, scratch: Path
) -> LoggedModel:
    """Log the model's folder, as what came out of the run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    experiment = run.client.get_run(run.run_id).info.experiment_id
    model = run.client.create_logged_model(
        experiment, name, source_run_id=run.run_id, tags=_tags(servable), model_type="CARAT"
    )
    metadata = Model(
        artifact_path=model.artifact_location,
        run_id=run.run_id,
        model_id=model.model_id,
        metadata=_tags(servable),
    )
    save(servable, scratch / "model", metadata)
    run.client.log_model_artifacts(model.model_id, str(scratch / "model"))
    run.client.finalize_logged_model(model.model_id, "READY")
    run.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def save(servable: ServableModel, folder: Path, metadata: Model | None = None) -> None:
    """Write the folder of a model that `mlflow.pyfunc.load_model` opens.

    Args:
        servable: What to write.
        folder: Must not exist yet.
        metadata: What MLflow knows of the model already.
    """
    import pandas as pd
    from mlflow.pyfunc import save_model

    one_step = {m: [[[0.0] * width]] for m, width in servable.model.widths.items()}
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch, "weights.safetensors")
        servable.model.save(weights)
        calibration = Path(scratch, "calibration.json")
        calibration.write_text(json.dumps(servable.calibration.to_dict()), encoding="utf-8")
        save_model(
            folder,
            python_model=str(_CODE),
            artifacts={"weights": str(weights), "calibration": str(calibration)},
            code_paths=[str(_PACKAGE)],
            signature=_signature(servable.model.labels),
            input_example=pd.DataFrame(one_step),
            # Given, because MLflow finds them out by running the model in a process of its own.
            pip_requirements=[f"{p}=={_public_version(p)}" for p in _REQUIREMENTS],
            mlflow_model=metadata,
        )


def _public_version(package: str) -> str:
    """The version without the local part ("+cpu") that no index has."""
    return installed_version(package).partition("+")[0]


def _signature(labels: tuple[str, ...]) -> ModelSignature:
    """In: (T, D) per modality, each of which may be absent. Out: scores, and names of labels."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    sequence = Array(Array(DataType.double))
    scores = [ColSpec(DataType.float, label) for label in labels]
    return ModelSignature(
        inputs=Schema([ColSpec(sequence, m, required=False) for m in MODALITIES]),
        outputs=Schema([*scores, ColSpec(Array(DataType.string), DECISIONS)]),
    )


def _tags(servable: ServableModel) -> dict[str, str]:
    return {
        "weights": servable.model.digest,
        "corpus": servable.model.corpus,
        "synthetic": str(servable.model.synthetic).lower(),
        **{f"test.{k}": str(v) for k, v in servable.metrics.items() if tracking.is_metric(v)},
    }


def _create_name(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
