"""The model that is served: a fitted system, its thresholds and the code that runs them.

It is a version in MLflow's registry. Its folder holds safetensors, JSON and Python source, no
pickle. With its own copy of this package it runs wherever the packages are installed that its
`requirements.txt` names.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from mmer.errors import InputError
from mmer.metrics.metrics import HEADLINE
from mmer.provenance import digest
from mmer.registry import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel

    from mmer.calibration.calibration import Calibration
    from mmer.evaluation.assessment import Assessment
    from mmer.systems.contract import FittedSystem

DECISIONS = "emotions"
_SYNTHETIC = "-synthetic"
_PACKAGE = Path(__file__).resolve().parents[1]
_CODE = Path(__file__).with_name("servable_code.py")
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "torch")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServableModel:
    """A fitted system, the thresholds made for it, and what it is worth with these.

    Raises:
        InputError: Thresholds or figures belong to another model, labels or thresholds.
    """

    fitted: FittedSystem
    calibration: Calibration
    assessment: Assessment

    def __post_init__(self) -> None:
        self.calibration.check(self.fitted.digest, self.fitted.info.fingerprint)
        for where, name, expected, found in (
            ("calibration", "labels", self.fitted.info.labels, self.calibration.labels),
            ("assessment", "model", self.fitted.digest, self.assessment.info.model),
            ("assessment", "thresholds", self.calibration.thresholds, self.assessment.thresholds),
        ):
            if found != expected:
                remedy = "Evaluate again (--tags=evaluation, or the whole pipeline)."
                expected = f"those of the model to be registered ({expected})"
                raise InputError(where, name, expected, found, remedy)

    @property
    def synthetic(self) -> bool:
        """True if no real recording stands behind any of it."""
        return self.fitted.info.synthetic or self.assessment.info.synthetic

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from every other one that may be registered under the same name."""
        calibration = digest(self.calibration.model_dump(mode="json"))
        return {"model": self.fitted.digest, "calibration": calibration}


def register(servable: ServableModel, name: str, alias: str = "candidate") -> str:
    """Let `alias` point at a version of the registered model; make the version if there is none.

    It belongs to the MLflow run that is open, or to one of its own. To the name of a synthetic
    model "-synthetic" is added.

    Returns:
        The number of the version.

    Raises:
        InputError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    name += _SYNTHETIC if servable.synthetic else ""
    opened = tracking.current_run()
    with nullcontext(opened) if opened else tracking.open_run(Path(), f"register {name}") as run:
        try:
            version, news = _existing(servable, run.client, name), "is this very model"
            if version is None:
                version, news = _new_version(servable, run, name), "is new"
            run.client.set_registered_model_alias(name, alias, version)
        except (MlflowException, OSError) as error:
            raise InputError(
                run.uri,
                name,
                "a registry that takes the model",
                tracking.first_line(error),
                "What was trained is kept: once the registry answers, run the last node again.",
            ) from error
    logger.info("Registered model %s: version %s %s; now '%s'", name, version, news, alias)
    return version


def load(name: str, alias: str = "candidate") -> PyFuncModel:
    """What `alias` points at, real or synthetic, as an MLflow pyfunc.

    Raises:
        InputError: There is none, or there are both.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.pyfunc import load_model

    uri = _uri()
    versions, problem = _versions(uri, name, alias)
    where = uri, f"{name}@{alias}"
    if not versions:
        raise InputError(*where, "a registered model", problem, "Train and register one first.")
    if len(versions) > 1:
        remedy = f"Take the alias {alias} from one of them (`make ui`)."
        raise InputError(*where, "one registered model", " and ".join(versions), remedy)
    ((found, version),) = versions.items()
    folder = download_artifacts(f"models:/{found}/{version}", tracking_uri=uri, registry_uri=uri)
    return load_model(folder)


def exists(name: str, alias: str = "candidate") -> bool:
    """True if `alias` points at a version of the registered model `name`, real or synthetic."""
    return bool(_versions(_uri(), name, alias)[0])


def _versions(uri: str, name: str, alias: str) -> tuple[dict[str, str], str]:
    """Name of the real and of the synthetic model -> its version, and why one is missing."""
    from mlflow.exceptions import MlflowException

    client, versions, problem = tracking.connect(uri), {}, ""
    for each in (name, name + _SYNTHETIC):
        try:
            versions[each] = str(client.get_model_version_by_alias(each, alias).version)
        except MlflowException as error:
            problem = tracking.first_line(error)
    return versions, problem


def _uri() -> str:
    run = tracking.current_run()
    return run.uri if run else tracking.tracking_uri(Path())


def _existing(servable: ServableModel, client: MlflowClient, name: str) -> str | None:
    """The version that holds this very model, if it has been registered before."""
    wanted = " and ".join(f"tags.{key} = '{value}'" for key, value in servable.identity.items())
    found = client.search_model_versions(f"name = '{name}' and {wanted}", max_results=1)
    return str(found[0].version) if found else None


def _new_version(servable: ServableModel, run: tracking.TrackedRun, name: str) -> str:
    """Log the model's folder as what came out of the run, and register it."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    client, run_id, tags = run.client, run.run_id, _tags(servable)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    experiment = client.get_run(run_id).info.experiment_id
    title = servable.fitted.info.title
    logged = client.create_logged_model(
        experiment, name, source_run_id=run_id, tags=tags, model_type=title
    )
    where, model_id = logged.artifact_location, logged.model_id
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save(servable, folder, Model(where, run_id, model_id=model_id, metadata=tags))
        client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    # Beside a database, MLflow would look the id up at another tracking URI.
    source = f"models:/{model_id}" if run.is_remote else where
    version = client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)
    return str(version.version)


def save(servable: ServableModel, folder: Path, metadata: Model | None = None) -> None:
    """Write a model, with what MLflow knows of it, for `mlflow.pyfunc.load_model` to open.

    The folder must not exist yet.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array

    from mmer.systems.storage import save_fitted

    info = servable.fitted.info
    scores = [ColSpec(DataType.double, label) for label in info.labels]
    # MLflow drops columns that it does not know. As all are required, one that is misspelt is
    # missing, and the message names both. A cell may be None only where the type is open.
    signature = ModelSignature(
        inputs=Schema([ColSpec(Array(AnyType()), modality) for modality in info.features]),
        outputs=Schema([*scores, ColSpec(Array(DataType.string), DECISIONS)]),
    )
    one_step = {modality: [[[0.0] * width]] for modality, width in info.widths.items()}
    # Without the local part ("+cpu") that no index has.
    versions = {package: installed_version(package).partition("+")[0] for package in _REQUIREMENTS}
    with tempfile.TemporaryDirectory() as scratch:
        system, calibration = Path(scratch, "system.safetensors"), Path(scratch, "calibration.json")
        save_fitted(servable.fitted, system)
        calibration.write_text(servable.calibration.to_json(), encoding="utf-8")
        save_model(
            folder,
            python_model=str(_CODE),
            artifacts={"system": str(system), "calibration": str(calibration)},
            code_paths=[str(_PACKAGE)],
            signature=signature,
            input_example=pd.DataFrame(one_step),
            # Given, because MLflow finds them out by running the model in a process of its own.
            pip_requirements=[f"{package}=={number}" for package, number in versions.items()],
            mlflow_model=metadata,
        )


def _tags(servable: ServableModel) -> dict[str, str]:
    info, figures = servable.assessment.info, servable.assessment.intervals.metrics
    return {
        **servable.identity,
        "system": info.system,
        "corpus": info.corpus,
        "synthetic": str(servable.synthetic).lower(),
        **{f"{info.split}.{name}": str(figures[name].value) for name in HEADLINE},
    }
