"""Places where runs can be tracked, a database and a server that can be killed; toy nominees."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from servers import MlflowServer, free_port

from mmer.calibration.calibration import Calibration, calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.evaluation.assessment import EvaluationSettings, assess, compare_systems
from mmer.evaluation.promotion import Evidence, PromotionSettings
from mmer.evaluation.robustness import measure_robustness
from mmer.metrics.scores import Scores
from mmer.registry.servable import ServableModel
from mmer.registry.versions import Nominee
from mmer.samples.table import Features
from mmer.systems.contract import FittedSystem, SystemInfo

LABELS = ("label 0", "label 1", "label 2")
MODALITIES = ("speech", "face")
EVALUATION = EvaluationSettings(resamples=200, missing_rates=(0.0, 0.5), repeats=1)


@pytest.fixture
def project(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    mlflow_database: Path,
) -> Path:
    """A folder with an MLflow database, shared by the session."""
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "mlflow.db").exists():
        shutil.copyfile(mlflow_database, folder / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(name="free_port")
def free_port_fixture() -> int:
    """A port of this machine that nothing listens on."""
    return free_port()


@pytest.fixture
def mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A running server that the environment names as the place to track."""
    server = MlflowServer(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def scores_of(
    toy_scores: Callable[..., Scores], quality: float, seed: int, split: str, **info: object
) -> Scores:
    """Of 40 groups of three samples; all of `quality` 0 are noise, of 1 nearly all right."""
    truth = np.random.default_rng(split == "test").random((120, 3)) < 0.4
    noise = np.random.default_rng((seed, split == "test")).normal(size=truth.shape)
    values = 1 / (1 + np.exp(-(6 * quality * (truth - 0.5) + noise)))
    return toy_scores(values, truth, split, **info)


@cache
def evidence_from(
    toy_scores: Callable[..., Scores],
    quality: float = 0.5,
    seed: int = 0,
    *,
    hidden: float | None = None,
    model: str = "digest-of-toy",
    **info: object,
) -> tuple[Evidence, Calibration]:
    """What a system of some quality is judged by; of quality `hidden` without a modality."""
    hidden = 0.6 * quality if hidden is None else hidden
    told = {"model": model, "title": f"Toy {seed}", **info}
    valid, test = (scores_of(toy_scores, quality, seed, s, **told) for s in ("valid", "test"))
    calibration = calibrate(valid, CalibrationSettings())
    constant = {**told, "system": "all", "title": "All", "model": "all", "fixed_threshold": 0.0}
    ones = np.ones_like(test.scores)
    every = [toy_scores(ones, one.truth, one.info.split, **constant) for one in (valid, test)]
    beside = (every[1], calibrate(every[0], CalibrationSettings()))
    systems = [(s, c, assess(s, c, EVALUATION)) for s, c in ((test, calibration), beside)]
    lacking = scores_of(toy_scores, hidden, seed, "test", **told).scores

    def shown(present: dict[str, np.ndarray]) -> np.ndarray:
        whole = np.all(list(present.values()), axis=0)
        return np.where(whole[:, None], test.scores, lacking)

    robustness = measure_robustness(shown, test, calibration, EVALUATION, MODALITIES)
    comparison = compare_systems(systems, EVALUATION)
    return Evidence(test, calibration, robustness, comparison), calibration


@pytest.fixture
def make_evidence(toy_scores: Callable[..., Scores]) -> Callable[..., Evidence]:
    """Evidence of a toy system of some quality, on the same test samples every time."""
    return lambda *args, **options: evidence_from(toy_scores, *args, **options)[0]


@pytest.fixture
def make_nominee(toy_scores: Callable[..., Scores]) -> Callable[..., Nominee]:
    """A model that gives one row of scores to all, with evidence of any quality."""

    def make(
        quality: float = 0.5,
        seed: int = 0,
        *,
        synthetic: bool = True,
        settings: PromotionSettings | None = None,
        **options: object,
    ) -> Nominee:
        fingerprint = str(options.get("fingerprint", "made-for-tests"))
        info = SystemInfo(
            system="label_prior",
            title="Toy",
            settings={},
            labels=LABELS,
            features={name: Features(name=f"test {name}", width=3) for name in MODALITIES},
            corpus="toy",
            synthetic=synthetic,
            fingerprint=fingerprint,
            fixed_threshold=0.5,
            may_lack=MODALITIES,
        )
        row = torch.tensor([quality, seed / 100, 0.5], dtype=torch.float64)
        fitted = FittedSystem(info, {"prevalence": row})
        options |= {"model": fitted.digest, "synthetic": synthetic}
        evidence, calibration = evidence_from(toy_scores, quality, seed, **options)
        servable = ServableModel(fitted, calibration, evidence.comparison.assessments[0])
        return Nominee(servable, evidence, settings or PromotionSettings(), EVALUATION)

    return make
