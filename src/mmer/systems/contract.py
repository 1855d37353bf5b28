"""What a system is: a recipe with typed settings that turns training samples into a fitted system.

Constants, linear models and networks are all systems and take the same road from here: fit ->
scores -> calibration -> assessment -> comparison -> registration. A system lives in a folder of its
own and is named in `mmer.systems.SYSTEMS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mmer.errors import InputError
from mmer.metrics.scores import Scores, ScoresInfo
from mmer.provenance import digest
from mmer.samples.batches import Present, Samples
from mmer.samples.table import Features, Origin, Persons, TableInfo
from mmer.schema import Record, Settings
from mmer.training.checkpoints import Checkpoints
from mmer.training.history import History
from mmer.training.nesting import without_groups
from mmer.training.tensors import digests

_ENOUGH_ABSENCES = 0.05

Attention = dict[str, np.ndarray]
"""Modality -> (T, L): how much each label looks at each step of one sample; columns sum to 1."""


class SystemInfo(Record):
    """What a fitted system is and what it was fitted on.

    Attributes:
        system: Key in SYSTEMS.
        title: Name for readers.
        settings: The system's settings, as JSON holds them.
        recipe: Digest of these without their seed: systems of one recipe differ by chance alone.
        labels: L names, in the order of the scores.
        features: Modality -> what its steps must be.
        corpus: Name of the corpus that it was fitted on.
        synthetic: True if no real recording stands behind that.
        fingerprint: Of the sample tables that it was fitted on.
        fixed_threshold: If there is nothing to calibrate, the threshold that is part of the system.
        seed: Of systems that draw random numbers in fitting, the one that they were drawn from.
        kept_epoch: Of systems trained in epochs, the one that was kept, counted from 1.
        epoch_groups: Names of the validation groups on which alone it was chosen, and which nothing
            else is chosen on; none if it was on all of them.
        may_lack: Modalities that it has learned to do without; others must be there when it is
            used.
        without: The part that was taken away from it, if one was: one of its system's `parts`, or a
            modality, which it then never sees.
        persons: Those that it knows, if it was fitted on a corpus with several and knows any.
    """

    system: str
    title: str
    settings: dict[str, Any]
    recipe: str = ""
    labels: tuple[str, ...]
    features: dict[str, Features]
    corpus: str
    synthetic: bool
    fingerprint: str
    fixed_threshold: float | None = None
    seed: int | None = None
    kept_epoch: int | None = None
    epoch_groups: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()
    without: str | None = None
    # Not told where there are none: what was fitted before there were any keeps its digest.
    persons: Persons | None = Field(default=None, exclude_if=lambda persons: persons is None)

    @property
    def widths(self) -> dict[str, int]:
        """Feature width D of each modality."""
        return {modality: features.width for modality, features in self.features.items()}


@dataclass(frozen=True)
class FittedSystem:
    """What a system is, and what it has learned, as tensors on the CPU."""

    info: SystemInfo
    arrays: dict[str, Tensor]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the scores depend on, and of what it was fitted on."""
        info = self.info.model_dump(mode="json")
        return digest({"info": info, "arrays": digests(self.arrays)})

    def check_fits(self, info: TableInfo) -> None:
        """Refuse samples of other tables than those that this system was fitted on.

        Raises:
            InputError: Naming what differs.
        """
        where = f"{info.corpus} {info.split} samples"
        remedy = "Fit it again on these tables (--tags=training, or the whole pipeline)."
        for name, own, found in (
            ("labels", self.info.labels, info.labels),
            ("feature widths", self.info.widths, info.widths),
            ("fingerprint", self.info.fingerprint, info.fingerprint),
        ):
            if own != found:
                expected = f"as in the tables that {self.info.title} was fitted on, {own}"
                raise InputError(where, name, expected, found, remedy)

    def check_gave(self, scores: ScoresInfo) -> None:
        """Refuse scores of another system, with an InputError."""
        if scores.model != self.digest:
            where = f"{scores.split} scores of {scores.title}"
            expected, remedy = f"the model at hand, {self.digest}", "Score again with this model."
            raise InputError(where, "model", expected, scores.model, remedy)


class Scorer(Protocol):
    """A fitted system, ready to score."""

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        """(N, L) in [0, 1], in the samples' order; modalities that are not `present` are hidden."""

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        """What each label looks at in the samples `index`; an empty list if that is not known."""


class Fit(NamedTuple):
    """What fitting gives."""

    fitted: FittedSystem
    history: History


class System(ABC):
    """A recipe. One instance of each stands in SYSTEMS.

    Attributes:
        name: Key in SYSTEMS, and of its settings in the parameter files.
        title: Name for readers.
        settings: Type of its settings; all have defaults.
        simple: True if it stands beside the other systems as what they have to beat.
        seeded: True if fitting draws random numbers, so that another seed gives another system.
        parts: What can be taken away from it, to see what it is good for: name -> settings that do
            so. Every modality is such a part besides.
        parts_for_persons: Those of them that do nothing where steps are not of several persons.
    """

    name: str
    title: str
    settings: type[Settings]
    simple: bool = False
    seeded: bool = False
    parts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    parts_for_persons: frozenset[str] = frozenset()

    @abstractmethod
    def fit(
        self, train: Samples, valid: Samples, settings: Any, checkpoints: Checkpoints | None = None
    ) -> Fit:
        """Learn from the training samples; whatever has to be chosen is chosen on `valid`.

        Same samples, settings and machine: same bits. What takes long goes on from `checkpoints`
        and keeps its state there.

        Raises:
            InputError: The samples are not what the system can learn from.
        """

    @abstractmethod
    def scorer(self, fitted: FittedSystem, device: torch.device) -> Scorer:
        """The fitted system, on `device`."""

    def with_seed(self, settings: Any, seed: int) -> Any:
        """The settings with another seed; those of systems that are not `seeded` have none."""
        return settings

    def recipe(self, settings: Any) -> str:
        """Digest of the settings without their seed; see `SystemInfo.recipe`."""
        return digest(self.with_seed(settings, 0).model_dump(mode="json"))

    def settings_without(self, settings: Any, part: str | None) -> Any:
        """The settings that take one of its `parts` away; as they are for anything else.

        Raises:
            InputError: They leave it away already.
        """
        if part is None or part not in self.parts:
            return settings
        changed = type(settings).model_validate(_merged(settings.model_dump(), self.parts[part]))
        if changed == settings:
            expected, found = f"settings of {self.title} that have it", "it is switched off already"
            raise InputError("ablation", f"part {part}", expected, found)
        return changed

    def count_parameters(self, fitted: FittedSystem) -> int:
        """How many numbers fitting has found."""
        return sum(x.numel() for x in fitted.arrays.values())

    def info(self, train: Samples, settings: Settings, **more: Any) -> SystemInfo:
        """What is common to all that this system learns from these samples."""
        more.setdefault("may_lack", often_absent(train))
        return SystemInfo(
            system=self.name,
            title=self.title,
            settings=settings.model_dump(mode="json"),
            recipe=self.recipe(settings),
            labels=train.info.labels,
            features=train.info.features,
            corpus=train.info.corpus,
            synthetic=train.info.synthetic,
            fingerprint=train.info.fingerprint,
            **more,
        )


def fit_without(
    system: System,
    part: str | None,
    train: Samples,
    valid: Samples,
    settings: Any,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Fit a system from which one part has been taken away: one of its `parts`, or a modality.

    Raises:
        InputError: It has no such part; and as of `System.fit`.
    """
    if part is None:
        return system.fit(train, valid, settings, checkpoints)
    if part not in (*system.parts, *train.modalities):
        expected = f"one of {', '.join((*system.parts, *train.modalities))}"
        raise InputError("ablation", f"parts of {system.title}", expected, part)
    settings = system.settings_without(settings, part)
    if part not in system.parts:
        train, valid = train.without(part), valid.without(part)
    fitted, history = system.fit(train, valid, settings, checkpoints)
    title = f"{fitted.info.title} without {part.replace('_', ' ')}"
    info = fitted.info.model_copy(update={"without": part, "title": title})
    return Fit(replace(fitted, info=info), history)


def _merged(settings: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _merged(settings[k], v) for k, v in change.items() if isinstance(v, Mapping)}
    return {**settings, **change, **nested}


def often_absent(samples: Samples) -> tuple[str, ...]:
    """Modalities that enough of the samples lack for a system to have learned to do without."""
    lacking = {m: (lengths == 0).mean() for m, lengths in samples.host_lengths.items()}
    return tuple(m for m, share in lacking.items() if share >= _ENOUGH_ABSENCES)


def scored(fitted: FittedSystem, scorer: Scorer, samples: Samples) -> Scores:
    """Scores with all that they are of.

    Those on validation leave out the groups on which alone the system's epoch was chosen. A system
    without a modality is not shown it.

    Raises:
        InputError: The samples are not of the tables that the system was fitted on.
    """
    fitted.check_fits(samples.info)
    if samples.info.split == "valid" and fitted.info.epoch_groups:
        samples = without_groups(samples, fitted.info.epoch_groups)
    if fitted.info.without in samples.modalities:
        samples = samples.without(fitted.info.without)
    origin = {name: getattr(samples.info, name) for name in Origin.model_fields}
    own = {name: getattr(fitted.info, name) for name in ("system", "title", "fixed_threshold")}
    origin["synthetic"] |= fitted.info.synthetic
    info = ScoresInfo(
        **origin,
        **own,
        model=fitted.digest,
        recipe=fitted.info.recipe,
        seed=fitted.info.seed,
        without=fitted.info.without,
        kept_epoch=fitted.info.kept_epoch,
        epoch_groups=len(fitted.info.epoch_groups),
    )
    return Scores(
        info, scorer.scores(samples), samples.truth, samples.sample_ids, samples.group_ids
    )
