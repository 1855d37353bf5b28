"""One cell: trained with all that is chosen on validation, then scored on the test samples.

What an earlier run has finished of it, from the same tables, settings and code, is taken and not
made again. So a comparison that was interrupted goes on, and one that is asked for again, with a
seed more, trains that seed alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from mmer.calibration.calibration import Calibration, calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.datasets.finished import Finished, Receipt, content_of
from mmer.errors import InputError
from mmer.evaluation.costs import Cost, Machine, Spent, metered, this_machine
from mmer.metrics.scores import Scores
from mmer.pipelines.fitting import fit
from mmer.pipelines.scoring import score
from mmer.provenance import fingerprint
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.schema import Settings
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem, fit_without, scored
from mmer.training.checkpoints import CheckpointSettings
from mmer.training.history import History

from .cells import Cell

logger = logging.getLogger(__name__)


class TrainedCell(Receipt):
    """Of a cell's training, with what it cost.

    Attributes:
        ended: When, in seconds since 1970.
    """

    parameters: int
    training: Spent
    machine: Machine
    ended: float


class ScoredCell(Receipt):
    """Of a cell's scores on the test samples, with what the cell cost."""

    cost: Cost


def train_cell(
    train: SampleTable,
    valid: SampleTable,
    settings: Settings,
    calibration: CalibrationSettings,
    kept: CheckpointSettings,
    folder: Path,
    finished: Finished,
    cell: Cell,
) -> tuple[FittedSystem, History, Calibration, TrainedCell]:
    """The fitted system, with thresholds and probabilities that were chosen on validation."""
    train.expect("train")
    valid.expect("valid", train.info.fingerprint)
    recipe = SYSTEMS[cell.system]
    if cell.seed is not None:
        settings = recipe.with_seed(settings, cell.seed)
    decisive = {
        "tables": train.info.fingerprint,
        "cell": cell,
        "settings": settings.model_dump(mode="json"),
        "calibration": calibration.model_dump(mode="json"),
    }
    key = _key(decisive, (type(recipe), fit_without, pack, calibrate))
    if (found := finished.find(key)) is not None:
        logger.info("%s: trained before", cell.name)
        return found
    logger.info("%s: training", cell.name)
    device = _device()
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports, seconds once, are no cost
    with metered(device) as meter:
        fitted = fit(recipe, cell.without, train, valid, settings, folder, kept)
    earlier = fitted.history.earlier_seconds
    spent = meter.spent.model_copy(update={"seconds": meter.spent.seconds + earlier})
    chosen = calibrate(score(fitted.fitted, valid), calibration)
    receipt = TrainedCell(
        key=key,
        content=tuple(map(content_of, (*fitted, chosen))),
        parameters=recipe.count_parameters(fitted.fitted),
        training=spent,
        machine=this_machine(device),
        ended=time.time(),
    )
    return *fitted, chosen, receipt


def score_cell(
    fitted: FittedSystem, trained: TrainedCell, test: SampleTable, finished: Finished, cell: Cell
) -> tuple[Scores, ScoredCell]:
    """The system's scores on the test samples, and what the cell cost.

    Raises:
        InputError: The receipt is that of another model, trained since under the same name.
    """
    test.expect("test")
    if trained.content[0] != content_of(fitted):
        where, expected = f"model of {cell.name}", f"that of its receipt, {trained.content[0]}"
        remedy = "Run the whole comparison, not the evaluation alone."
        raise InputError(where, "digest", expected, fitted.digest, remedy)
    decisive = {"training": trained.key, "model": fitted.digest, "tables": test.info.fingerprint}
    key = _key(decisive, (type(SYSTEMS[cell.system]), scored, pack))
    if (found := finished.find(key)) is not None:
        return found
    with metered(_device()) as meter:
        scores = score(fitted, test)
    cost = Cost(
        system=cell.system,
        title=fitted.info.title,
        seed=cell.seed,
        without=cell.without,
        parameters=trained.parameters,
        training=trained.training,
        scoring=meter.spent,
        scored_samples=len(scores.truth),
        machine=trained.machine,
        scored_on=this_machine(_device()),
    )
    return scores, ScoredCell(key=key, content=(content_of(scores),), cost=cost)


def _key(decisive: Mapping[str, object], code: Iterable[Callable]) -> str:
    """Also of what the last bits depend on: libraries, kind of device, number of threads."""
    libraries = {name: version(name) for name in ("numpy", "scikit-learn", "scipy", "torch")}
    computed = {"device": _device().type, "threads": torch.get_num_threads()}
    return fingerprint((), {**decisive, "libraries": libraries, **computed}, code)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
