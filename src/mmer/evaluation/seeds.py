"""Systems x seeds on the same tables, with the same choices on validation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import EvaluationSettings, judged_by
from mmer.metrics.resampled import Judged
from mmer.metrics.scores import Scores
from mmer.metrics.seeds import ComparedSystems, compare_seeds
from mmer.schema import Settings


class _Chosen(Settings):
    """Systems and seeds."""

    systems: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for name in type(self).model_fields:
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name}: one is named twice")
        return self


class ComparisonSettings(_Chosen):
    """What is compared.

    Attributes:
        systems: Names of systems; all if empty.
        seeds: With which every system that draws random numbers is trained. One says nothing of
            how much the figures owe to chance in training.
    """


class AblationSettings(_Chosen):
    """What is taken away from which systems.

    Attributes:
        systems: Names of systems; those that declare parts if empty.
        seeds: See `ComparisonSettings`.
        parts: Names of parts and modalities; all if empty.
    """

    parts: tuple[str, ...] = ()


def compare_replicates(
    cells: Iterable[tuple[Scores, Calibration]],
    settings: EvaluationSettings,
    *,
    against_first: bool = False,
) -> ComparedSystems:
    """Every system over its seeds, beside every other; or the first alone beside each other.

    Args:
        cells: Test scores of every seed of every system, and what was chosen on validation.
        settings: Of the bootstrap.

    Raises:
        InputError: A calibration belongs to other scores; scores are of other samples or tables
            than the first ones; seeds of a system differ in more than the seed.
    """
    systems: dict[str, list[Judged]] = {}
    for scores, calibration in cells:
        systems.setdefault(scores.info.title, []).append(judged_by(scores, calibration))
    return compare_seeds(
        systems,
        resamples=settings.resamples,
        seed=settings.seed,
        against_first=against_first,
    )
