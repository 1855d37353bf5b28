"""A registered model, ready to predict: the same answer however it is asked.

The server, a notebook and the prediction pipeline all come through here. A network computes in
double precision here and its scores are rounded to single, as those are that thresholds were chosen
on. So a sample's score does not depend on the samples that it is padded with, on their number or on
their order: what these change is far below what rounding takes away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from mmer.calibration.calibration import Calibration, probabilities
from mmer.calibration.conformal import ConformalThreshold
from mmer.errors import InputError
from mmer.metrics.decisions import decide
from mmer.samples.batches import Samples
from mmer.samples.table import TableInfo
from mmer.schema import Record, Settings
from mmer.systems import SYSTEMS
from mmer.systems.contract import Attention, FittedSystem
from mmer.systems.network import NetworkScorer
from mmer.systems.storage import load_fitted

SYSTEM, CALIBRATION, REFERENCE, REQUESTS = (
    "system.safetensors",
    "calibration.json",
    "reference.json",
    "requests.json",
)
"""Names of what belongs to a model, in one folder."""

OWN_THRESHOLD = "system"
"""What to choose as `target` of a system that has a threshold of its own."""

_PADDED_STEPS = 2**14
"""Steps of a batch, padded, at which it has enough: what else a longest sample would pad."""

_SHOWN = 60

_NOT_WITHOUT = (
    "This model has not learned to do without: it would be worse than no model. Train it with "
    "`training.modality_dropout`, or on samples that lack the modality."
)


class Requests(Record):
    """What has to be known of training to take a sample as training did.

    Attributes:
        zeros_are_absent: A modality that is zero throughout a sample is absent from it.
        alignment: Of the training samples, see `TableInfo`; None if that is not known.
        reading: Likewise; empty if that is not known.
    """

    zeros_are_absent: bool = True
    alignment: Literal["word", "utterance", "none"] | None = None
    reading: dict[str, Any] = Field(default={})


class Choice(Settings):
    """What is asked for beside probabilities.

    Attributes:
        target: The metric for which the thresholds were chosen by which labels are predicted; the
            one that the model was registered with if empty.
        alpha: Bound of a prediction set; 0 for no set.
        unit: What that bounds a mean over, see `mmer.calibration.conformal`; empty for the first.
    """

    target: str = ""
    alpha: float = 0.0
    unit: str = ""


class Refusal(NamedTuple):
    """Why a sample cannot be scored, as an `InputError` says it."""

    modality: str
    expected: str
    found: str
    remedy: str = ""

    def error(self, where: object) -> InputError:
        return InputError(where, self.modality, self.expected, self.found, self.remedy)


@dataclass(frozen=True)
class Predictions:
    """What a model says of N samples.

    Attributes:
        probabilities: (N, L), calibrated.
        predicted: (N, L) bool, the labels whose score passes their threshold.
        sets: (N, L) bool, the prediction sets; None if none were asked for.
        guarantee: What holds of the sets, in words.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray
    predicted: np.ndarray
    sets: np.ndarray | None
    guarantee: str

    def names(self, chosen: np.ndarray) -> list[list[str]]:
        """Names of the labels in each row of (N, L)."""
        names = np.array(self.labels, object)
        return [names[row].tolist() for row in chosen]


class Predictor:
    """A fitted system with what was chosen for it.

    Attributes:
        digest: Of the system.
        limits: Modality -> the most steps that the system takes; without those it takes any of.
        targets: What `Choice.target` can be; the first is meant if it is empty.

    Raises:
        InputError: The calibration belongs to another model.
    """

    def __init__(
        self,
        fitted: FittedSystem,
        calibration: Calibration,
        requests: Requests | None = None,
        device: torch.device | None = None,
    ) -> None:
        calibration.check(fitted.digest, fitted.info.fingerprint)
        self.info, self.digest = fitted.info, fitted.digest
        self.calibration, self.requests = calibration, requests or Requests()
        self._scorer = SYSTEMS[self.info.system].scorer(fitted, device or torch.device("cpu"))
        longest = None
        if isinstance(self._scorer, NetworkScorer):
            self._scorer.network.double()
            longest = getattr(self._scorer.network, "longest", None)
        self.limits: dict[str, int] = {m: n for m, n in (longest or {}).items() if n}
        self._thresholds = thresholds_by_target(calibration)
        self.targets = tuple(self._thresholds)

    @classmethod
    def read(cls, folder: Path, device: torch.device | None = None) -> Predictor:
        """From a folder with the files named above; see the class for what is raised."""
        requests = folder / REQUESTS
        return cls(
            load_fitted(folder / SYSTEM),
            Calibration.read(folder / CALIBRATION),
            Requests.read(requests) if requests.is_file() else None,
            device,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.info.labels

    @property
    def widths(self) -> dict[str, int]:
        """Feature width D of each modality."""
        return self.info.widths

    @property
    def may_lack(self) -> set[str]:
        """Modalities that a sample need not have."""
        return {*self.info.may_lack, *filter(None, [self.info.without])} & self.widths.keys()

    @property
    def table_info(self) -> TableInfo:
        """What samples have to be, as a sample table says it."""
        return TableInfo(
            corpus=self.info.corpus,
            split="test",
            labels=self.labels,
            features=self.info.features,
            alignment=self.requests.alignment or "none",
            synthetic=self.info.synthetic,
            fingerprint=self.info.fingerprint,
            persons=self.info.persons,
            reading=self.requests.reading,
            zeros_are_absent=self.requests.zeros_are_absent,
        )

    def refusals(self, samples: Samples) -> dict[int, Refusal]:
        """Position -> why the sample there cannot be scored, of those that cannot."""
        found: dict[int, Refusal] = {}
        for modality in samples.modalities:
            lengths = samples.host_lengths[modality]
            most = self.limits.get(modality)
            for row in np.flatnonzero(lengths > most) if most else ():
                told = Refusal(modality, f"at most {most} steps", f"{lengths[row]} steps")
                found.setdefault(int(row), told)
            if modality not in self.may_lack:
                for row in np.flatnonzero(lengths == 0):
                    told = Refusal(modality, "steps of it", "none", _NOT_WITHOUT)
                    found.setdefault(int(row), told)
        expected = f"at least one of {', '.join(self.widths)}"
        for row in np.flatnonzero(samples.longest == 0):
            found[int(row)] = Refusal("", expected, "none")
        return dict(sorted(found.items()))

    def predict(self, samples: Samples, choice: Choice | None = None) -> Predictions:
        """What the model says of samples, none of which is to be refused.

        Raises:
            InputError: What is chosen is not there to choose.
        """
        choice = choice or Choice()
        thresholds, conformal = self.thresholds(choice.target), self.conformal(choice)
        scores = self.scores(samples)
        return Predictions(
            labels=self.labels,
            probabilities=probabilities(scores, self.calibration) if len(scores) else scores,
            predicted=decide(scores, thresholds),
            sets=decide(scores, conformal.threshold) if conformal else None,
            guarantee=guarantee(conformal) if conformal else "",
        )

    def scores(self, samples: Samples) -> np.ndarray:
        """(N, L) float64 scores of samples."""
        if not len(samples):
            return np.zeros((0, len(self.labels)))
        taken, found = self._as_trained(samples), np.empty((len(samples), len(self.labels)))
        for index in _batches(taken.longest):
            found[index] = self._scorer.scores(taken.take(index))
        return found

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        """What each label looks at in the samples `index`; an empty list if that is not known."""
        return self._scorer.attention(self._as_trained(samples), index)

    def thresholds(self, target: str = "") -> np.ndarray:
        """(L,) those chosen for a metric.

        Raises:
            InputError: None were.
        """
        if not target:
            target = self.targets[0]
        if target not in self._thresholds:
            expected = f"one of {', '.join(self.targets)}"
            raise InputError("params", "target", expected, shortened(target))
        return self._thresholds[target]

    def conformal(self, choice: Choice) -> ConformalThreshold | None:
        """The threshold of the prediction sets that are asked for.

        Raises:
            InputError: There is none for this bound.
        """
        if not choice.alpha and not choice.unit:
            return None
        there = self.calibration.conformal
        for one in there:
            if one.alpha == choice.alpha and choice.unit in ("", one.unit):
                return one
        known = ", ".join(f"{one.alpha:g} over {one.unit}" for one in there) or "none was made"
        found = f"{choice.alpha:g}{f' over {shortened(choice.unit)}' if choice.unit else ''}"
        raise InputError("params", "alpha", f"0 for no set, or one of: {known}", found)

    def _as_trained(self, samples: Samples) -> Samples:
        if self.info.without in samples.modalities:
            samples = samples.without(self.info.without)
        return replace(samples, values={m: x.double() for m, x in samples.values.items()})


def shortened(text: str) -> str:
    """Text that came with a request, as a message may repeat it."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _batches(longest: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of every sample once, like lengths (N,) together, few where samples are long."""
    order = np.argsort(longest, kind="stable")
    begin = 0
    for at in range(1, len(order)):
        if (at + 1 - begin) * longest[order[at]] > _PADDED_STEPS:
            yield order[begin:at]
            begin = at
    yield order[begin:]


def thresholds_by_target(calibration: Calibration) -> dict[str, np.ndarray]:
    """Metric -> (L,) thresholds chosen for it; the ones to use unless told otherwise first."""
    first = {calibration.target or OWN_THRESHOLD: np.array(calibration.thresholds)}
    of_metric = {m: np.array(one.thresholds) for m, one in calibration.of_metric.items()}
    return {**first, **{m: x for m, x in of_metric.items() if m not in first}}


def guarantee(conformal: ConformalThreshold) -> str:
    """What holds of the sets under a conformal threshold, in words."""
    if not conformal.feasible:
        return (
            f"{conformal.groups} calibration groups cannot support {conformal.alpha:g}: every "
            "label is in every set"
        )
    loss = {
        "samples": "the mean over a new group's samples of the share of true labels missed",
        "labels": "the share of a new group's true labels missed",
    }[conformal.unit]
    return (
        f"{loss} is at most {conformal.alpha:g} on average, over draws of the "
        f"{conformal.groups} calibration groups and of a new group like them; not for any one "
        "label, sample or corpus unlike them"
    )
