"""Hooks that look at what a run is asked for, before anything runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from pydantic import ValidationError

from mmer.errors import InputError
from mmer.schema import Settings

if TYPE_CHECKING:
    from mmer.corpora.corpus import Ingestion

_PARAMS = "params:"


class DefaultParameters:
    """Gives parameters that no file sets: all settings have defaults."""

    @hook_impl
    def after_catalog_created(self, catalog: CatalogProtocol) -> None:
        """Add what is missing for every corpus, and for every system on it."""
        for owner, kinds in known_settings().items():
            for key, kind in kinds.items():
                if (name := f"{_PARAMS}{owner}.{key}") not in catalog:
                    catalog[name] = kind()


def known_settings() -> dict[str, dict[str, type[Settings]]]:
    """Corpus, or family of corpora -> name of settings -> their kind."""
    from mmer.calibration.settings import CalibrationSettings
    from mmer.corpora import CORPORA
    from mmer.evaluation.assessment import EvaluationSettings
    from mmer.evaluation.promotion import PromotionSettings
    from mmer.evaluation.seeds import AblationSettings, ComparisonSettings
    from mmer.pipelines.cells.cells import families
    from mmer.registry.predictor import Choice
    from mmer.systems import SYSTEMS
    from mmer.training.checkpoints import CheckpointSettings

    together: dict[str, type[Settings]] = {
        "evaluation": EvaluationSettings,
        "comparison": ComparisonSettings,
        "ablation": AblationSettings,
    }
    kinds: dict[str, type[Settings]] = {
        **together,
        "calibration": CalibrationSettings,
        "checkpoints": CheckpointSettings,
        "promotion": PromotionSettings,
        "prediction": Choice,
        **{name: system.settings for name, system in SYSTEMS.items()},
    }
    corpora = {name: {"ingestion": one.ingestion, **kinds} for name, one in CORPORA.items()}
    return {**corpora, **dict.fromkeys(families(), together)}


class AskedCells:
    """Notes which systems and seeds a comparison is asked for, before its pipeline is made."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read what the parameters say; what is wrong in them is for others to report."""
        from mmer.evaluation.seeds import AblationSettings, ComparisonSettings
        from mmer.pipelines.cells.cells import ask

        try:
            parameters = context.config_loader["parameters"]
        except (MissingConfigException, TypeError):
            parameters = {}
        kinds: dict[str, type[Settings]] = {
            "comparison": ComparisonSettings,
            "ablation": AblationSettings,
        }
        asked: dict[str, list] = {}
        for owner, given in parameters.items():
            for key, kind in kinds.items() if isinstance(given, dict) else ():
                if key in given:
                    with suppress(ValidationError):
                        asked.setdefault(owner, []).append(kind.model_validate(given[key]))
        ask(asked)


class SameTables:
    """Stops a run that would work on tables other than those that its parameters ask for."""

    _project = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the project is now."""
        self._project = Path(context.project_path).resolve()

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Look at the corpora whose tables or manifest are read and not made in this run.

        Raises:
            InputError: They were made from other files, or with other settings of ingestion.
        """
        from mmer.corpora import CORPORA

        for corpus in CORPORA:
            read = [name for name in pipeline.inputs() if name.startswith(f"{corpus}.")]
            manifest = f"{corpus}.manifest"
            if any(n == manifest or n.endswith("_samples") for n in read) and manifest in catalog:
                self._check(corpus, CORPORA[corpus].ingestion, catalog)

    def _check(self, corpus: str, kind: type[Ingestion], catalog: CatalogProtocol) -> None:
        if not catalog[f"{corpus}.manifest"].exists():
            return  # what is missing is the runner's to report
        manifest = catalog[f"{corpus}.manifest"].load()
        asked = kind.model_validate(catalog[f"{_PARAMS}{corpus}.ingestion"].load())
        made = kind.model_validate(manifest.settings)
        remedy = "Run without --tags, so that the tables are made anew, or without that parameter."
        where = f"tables of {corpus}"
        for name, value in {**asked.decisive, "validation": asked.validation}.items():
            found = {**made.decisive, "validation": made.validation}.get(name)
            if found != value:
                raise InputError(where, f"ingestion.{name}", f"made with {value}", found, remedy)
        place, before = catalog[f"{corpus}.raw"].place.resolve(), manifest.raw.path
        if place != before.resolve() and not self._moved(before, place):
            raise InputError(where, "files", f"made from {place}", before, remedy)

    def _moved(self, before: Path, now: Path) -> bool:
        """Whether it is the same place in the project, which was moved or renamed since."""
        if before.exists() or not now.is_relative_to(self._project):
            return False
        within = now.relative_to(self._project).parts
        return before.parts[-len(within) :] == within


class RawFilesThere:
    """Stops a run that lacks its raw files before MLflow and the runner hear of it."""

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Look at the raw files that are read, unless what is made from them may be there.

        Raises:
            DatasetError: There are none, with what to get, and from where, as its cause.
        """
        if run_params.get("only_missing_outputs"):
            return
        for name in sorted(pipeline.inputs()):
            check = getattr(catalog.get(name), "check", None)
            if name.endswith(".raw") and check:
                try:
                    check()
                except InputError as error:
                    raise DatasetError(str(error)) from error
