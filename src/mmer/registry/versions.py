"""Versions in MLflow's registry: registered once per model, nominated if they are good enough.

There is one registered model for each corpus and environment, of which the versions of all systems
are versions, for the question is which system is best on these data, and an alias knows one name
alone. What is synthetic has a registered model of its own, "-synthetic".
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.champions import TAKEN_BACK
from mmer.evaluation.promotion import Evidence, PromotionSettings, not_worse
from mmer.files import locked
from mmer.metrics.metrics import HEADLINE
from mmer.provenance import digest
from mmer.registry import evidence as kept
from mmer.registry import tracking
from mmer.registry.servable import ServableModel, save
from mmer.reporting.markdown import scores_note
from mmer.reporting.summary import interval_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

CANDIDATE, CHAMPION = "candidate", "champion"
SYNTHETIC = "-synthetic"
_TRIES = 10
_PAUSES = (0.1, 0.5, 2.0)  # seconds
_CONFLICTS = ("BAD_REQUEST", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
ABSENT = "RESOURCE_DOES_NOT_EXIST"
_DECIDED = "nominated"
_SAMPLES = "test_samples"
VERDICT = "promotion.verdict"
"""Tag of a version: what promotion said last, or that it was taken back."""
_TURNED_DOWN = ("refused", TAKEN_BACK)
_SQLITE = "sqlite:///"

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Nominee:
    """A model that a run has trained and evaluated, with what it is judged by, and the rule.

    Raises:
        InputError: The evidence is another model's.
    """

    servable: ServableModel
    evidence: Evidence
    settings: PromotionSettings
    evaluation: EvaluationSettings

    def __post_init__(self) -> None:
        self.servable.fitted.check_gave(self.evidence.scores.info)
        if self.evidence.comparison.assessments[0] != self.servable.assessment:
            expected, remedy = "its own assessment first", "Compare again (--tags=comparison)."
            where = f"comparison of {self.servable.fitted.info.title}"
            raise InputError(where, "assessments", expected, "another", remedy)


def nominate(nominee: Nominee, name: str) -> str:
    """Register the model; let `candidate` point at it unless the candidate that stands is better.

    "Better" is by the rule of promotion, on the same test samples (`promotion.not_worse`). A
    candidate on other samples, or whose files are damaged, cannot be compared and gives way. So
    does one that promotion has refused or that was taken back, to a model that is not worse than
    the champion: nothing better would be promoted as long as it stood.

    On one machine nominations take turns. Those of several machines may cross: each reads the name
    back and looks at what was registered meanwhile, so that the best of them ends as candidate.

    Returns:
        The number of the version.

    Raises:
        InputError: MLflow does not answer.
    """
    name += SYNTHETIC if nominee.servable.synthetic else ""
    with _run_for(f"register {name}") as run, _registry(run.uri, name), _in_turn(run.uri):
        version = _registered(nominee.servable, run, name, nominee.evidence)
        _stand(run, version, nominee)
    return str(version.version)


def register(servable: ServableModel, name: str) -> str:
    """Make a version of the registered model, or find the one that is this very model.

    It belongs to the MLflow run that is open, or to one of its own. To the name of a synthetic
    model "-synthetic" is added. Without what it is judged by it can be used, never promoted.

    Returns:
        The number of the version.

    Raises:
        InputError: MLflow does not answer.
    """
    name += SYNTHETIC if servable.synthetic else ""
    with _run_for(f"register {name}") as run, _registry(run.uri, name), _in_turn(run.uri):
        return str(_registered(servable, run, name, None).version)


def find(name: str, which: str = CHAMPION) -> tuple[str, str]:
    """Name and number of a version of the registered model, the real one or else the synthetic.

    A number is the real model's where there is one, an alias where it has this alias. That a
    synthetic one answers is said.

    Args:
        name: Of the registered model, without "-synthetic".
        which: An alias, or a version's number.

    Raises:
        InputError: There is none, or MLflow does not answer.
    """
    found, number = _found(name, which)
    if found != name:
        _say_synthetic(name, which, found)
    return found, number


@cache
def _say_synthetic(name: str, which: str, found: str) -> None:
    """Once, however often it is looked for."""
    text = "There is no %s@%s of real recordings: that of %s answers, which is synthetic"
    logger.warning(text, name, which, found)


def fetch(name: str, which: str = CHAMPION) -> tuple[str, str, Path]:
    """The version that `find` finds: name, number, and its folder, which holds what was registered.

    Raises:
        InputError: There is none; a file of it is gone, damaged or new.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    uri, (found, number) = current_uri(), find(name, which)
    client = tracking.connect(uri)
    try:
        version = client.get_model_version(found, number)
        # Not "models:/..", which MLflow looks up in the current folder's database in the end.
        place = client.get_model_version_download_uri(found, number)
        folder = Path(download_artifacts(place, tracking_uri=uri, registry_uri=uri))
    except (MlflowException, OSError) as error:
        where, problem = f"{found}, version {number}", tracking.first_line(error)
        raise InputError(where, "files", "its files", problem) from error
    kept.check_model(client, version, _folder(version.tags), folder)
    return found, number, folder


def load(name: str, which: str = CHAMPION) -> PyFuncModel:
    """The version that `find` finds, as an MLflow pyfunc.

    Raises:
        InputError: There is none, or its files are not those that were registered.
    """
    from mlflow.pyfunc import load_model

    return load_model(str(fetch(name, which)[2]))


def exists(name: str, which: str = CHAMPION) -> bool:
    """True if there is such a version, real or synthetic."""
    try:
        return bool(_found(name, which))
    except InputError:
        return False


def current_uri() -> str:
    """Where the run that is open is tracked, or one would be."""
    run = tracking.current_run()
    return run.uri if run else tracking.tracking_uri(Path())


def at_alias(client: MlflowClient, name: str, alias: str) -> str:
    """Number of the version that an alias points at; empty if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        return ""


def insisted(ask: Callable[[], Answer]) -> Answer:
    """What MLflow answers; where its database reports a conflict, it is asked again.

    Of two who set the same alias or tag for the first time at once, MLflow refuses one.
    """
    from mlflow.exceptions import MlflowException

    for pause in _PAUSES:
        try:
            return ask()
        except MlflowException as error:
            if error.error_code not in _CONFLICTS:
                raise
            time.sleep(pause)
    return ask()


def set_alias(client: MlflowClient, name: str, alias: str, number: str) -> None:
    """Let an alias point at a version."""
    insisted(partial(client.set_registered_model_alias, name, alias, number))


def set_tag(client: MlflowClient, name: str, number: str, key: str, value: str) -> None:
    """Set a tag of a version."""
    insisted(partial(client.set_model_version_tag, name, number, key, value))


def evidence_of(client: MlflowClient, uri: str, version: ModelVersion) -> Evidence:
    """What a version is judged by; an InputError if it cannot be believed. See `evidence.read`."""
    return kept.read(client, uri, version, _folder(version.tags))


def evaluations(client: MlflowClient, version: ModelVersion) -> int:
    """How many versions of a registered model were scored on a version's test samples.

    Those samples count as the same whose names and labels are, whatever was changed in how their
    features are read. One that was deleted counts: what it was scored on is not known any more.
    One that was registered again, because its files were damaged, counts once.
    """
    every = versions_of(client, version.name)
    same = {
        _folder(one.tags)
        for one in every
        if any(one.tags.get(tag) == version.tags.get(tag, "") for tag in (_SAMPLES, "fingerprint"))
    }
    deleted = max(int(one.version) for one in every) - len(every)
    return len(same) + deleted


def versions_of(client: MlflowClient, name: str, **tags: str) -> list[ModelVersion]:
    """All versions with these tags, oldest first."""
    wanted = " and ".join([f"name = '{name}'", *(f"tags.{k} = '{v}'" for k, v in tags.items())])
    found: list[ModelVersion] = []
    page = None
    while True:
        part = client.search_model_versions(wanted, max_results=1000, page_token=page)
        found += part
        page = part.token
        if not page:
            return sorted(found, key=lambda one: int(one.version))


def make_registered_model(client: MlflowClient, name: str, description: str = "") -> None:
    """Make it unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=description or None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _found(name: str, which: str) -> tuple[str, str]:
    from mlflow.exceptions import MlflowException

    uri = current_uri()
    where, key = tracking.without_password(uri), f"{name}@{which}"
    problem = "no registered model of this name"
    try:
        client = tracking.connect(uri)
        for each in (name, name + SYNTHETIC):
            try:
                aliases = client.get_registered_model(each).aliases
            except MlflowException as error:
                if error.error_code != ABSENT:
                    raise
                continue
            if which.isdecimal():
                key = f"{each}, version {which}"
                return each, str(client.get_model_version(each, which).version)
            if which in aliases:
                return each, str(aliases[which])
            problem = f"{each} without this alias"
    except (MlflowException, OSError) as error:
        problem = tracking.first_line(error)
        if getattr(error, "error_code", "") != ABSENT:
            raise InputError(where, key, "a registry that answers", problem) from error
    remedy = "Train one first." if which == CANDIDATE else "Train and promote one first."
    if which.isdecimal():
        remedy = "Name another version."
    raise InputError(where, key, "a registered model", problem, remedy)


@contextmanager
def _run_for(title: str) -> Iterator[tracking.TrackedRun]:
    """The run that is open, or one of its own."""
    if opened := tracking.current_run():
        yield opened
        return
    with tracking.open_run(Path(), title) as run:
        yield run


@contextmanager
def _registry(uri: str, name: str) -> Iterator[None]:
    """What MLflow refuses is one clear error."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise InputError(
            tracking.without_password(uri),
            name,
            "a registry that takes the model",
            tracking.first_line(error),
            "What was trained is kept: once the registry answers, run the last node again.",
        ) from error


@contextmanager
def _in_turn(uri: str) -> Iterator[None]:
    """One process of this machine at a time; of every machine that sees the same database file."""
    beside = Path(tempfile.gettempdir(), f"mmer-{os.getuid()}-{digest(uri)[:16]}")
    if uri.startswith(_SQLITE):
        beside = Path(uri.removeprefix(_SQLITE))
    with locked(Path(f"{beside}.registry.lock"), "Another run is at the registry: waiting for it"):
        yield


def _registered(
    servable: ServableModel, run: tracking.TrackedRun, name: str, evidence: Evidence | None
) -> ModelVersion:
    """The version of this very model whose files are whole, made if there is none."""
    found, news = _whole(servable, run, name), "is this very model"
    if not found:
        _new_version(servable, run, name, evidence)
        # Another machine may have registered the same model meanwhile: the first one stays.
        found, news = _whole(servable, run, name), "is new"
        for later in found[1:]:
            if later.run_id == run.run_id:
                run.client.delete_model_version(name, later.version)
    logger.info("Registered model %s: version %s %s", name, found[0].version, news)
    return found[0]


def _whole(servable: ServableModel, run: tracking.TrackedRun, name: str) -> list[ModelVersion]:
    """Versions of this very model, oldest first; one whose files are damaged is left out."""
    whole = []
    for version in versions_of(run.client, name, **servable.identity):
        try:
            kept.check(run.client, run.uri, version, _folder(version.tags))
        except InputError as error:
            text = "Version %s of %s is this very model, and is not taken: %s"
            logger.warning(text, version.version, name, error)
        else:
            whole.append(version)
    return whole


def _stand(run: tracking.TrackedRun, version: ModelVersion, nominee: Nominee) -> None:
    """Give the version the name `candidate` if it earns it, and note that this is decided.

    Other runs may be doing the same at this moment. Who holds the name looks at all versions of
    which nothing was decided when this began, and hands it on to a better one: whoever sets it last
    knows of all, for each is registered before the name is looked at.
    """
    client, name, number = run.client, version.name, str(version.version)
    judged = {number, *(str(v.version) for v in versions_of(client, name) if _DECIDED in v.tags)}
    for _ in range(_TRIES):
        standing = at_alias(client, name, CANDIDATE)
        if standing == number:
            rivals = [r for v in versions_of(client, name) if (r := str(v.version)) not in judged]
            better = [rival for rival in rivals if _worse_than(run, name, rival, nominee)]
            judged.update(rivals)
            if better:
                set_alias(client, name, CANDIDATE, better[-1])
            if better or not rivals:
                break
            continue
        in_its_way, why = _in_the_way_of(version, standing, run, nominee)
        if why:
            text = "Version %s of %s is registered without becoming the candidate: version %s is "
            logger.warning(text + "better (%s)", number, name, in_its_way, why)
            break
        if at_alias(client, name, CANDIDATE) == standing:
            set_alias(client, name, CANDIDATE, number)
    set_tag(client, name, number, _DECIDED, "true")
    logger.info("The candidate of %s is version %s", name, at_alias(client, name, CANDIDATE))


def _in_the_way_of(
    version: ModelVersion, standing: str, run: tracking.TrackedRun, nominee: Nominee
) -> tuple[str, str]:
    """Number of the version for whose sake this one is not the candidate, and why; empty if none.

    It is the candidate that stands, or the champion if that candidate was turned down.
    """
    client, name = run.client, version.name
    if not standing:
        return "", ""
    verdict = client.get_model_version(name, standing).tags.get(VERDICT)
    mine = version.tags.get(VERDICT)
    if verdict in _TURNED_DOWN:
        text = "The candidate, version %s of %s, was %s: the champion is compared with instead"
        logger.info(text, standing, name, verdict)
        standing = at_alias(client, name, CHAMPION)
    elif mine in _TURNED_DOWN:
        return standing, f"not {mine} as version {version.version} was"
    return standing, _worse_than(run, name, standing, nominee)


def _worse_than(run: tracking.TrackedRun, name: str, other: str, nominee: Nominee) -> str:
    """In what the nominee is worse than another version; empty if it is not, or cannot be."""
    if not other:
        return ""
    try:
        theirs = evidence_of(run.client, run.uri, run.client.get_model_version(name, other))
    except InputError as error:
        logger.warning("The nominee is not compared with version %s: %s", other, error)
        return ""
    checks = not_worse(nominee.evidence, theirs, nominee.settings, nominee.evaluation)
    if not checks:
        logger.warning("The nominee is not compared with version %s: other test samples", other)
    return "; ".join(f"{one.rule}, {one.of}: {one.found}" for one in checks if not one.holds)


def _new_version(
    servable: ServableModel, run: tracking.TrackedRun, name: str, evidence: Evidence | None
) -> None:
    """Log the model's folder as what came out of the run, and register it."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, run_id, tags = run.client, run.run_id, _tags(servable)
    if evidence:
        scores = evidence.scores
        rows = sorted(zip(scores.sample_ids, scores.truth.tolist(), strict=True))
        tags[_SAMPLES] = digest([scores.info.labels, rows])
    made_in = client.get_run(run_id)
    make_registered_model(client, name, _about(servable, name))
    experiment = made_in.info.experiment_id
    title = servable.fitted.info.title
    logged = client.create_logged_model(
        experiment, name, source_run_id=run_id, tags=tags, model_type=title
    )
    where, model_id = logged.artifact_location, logged.model_id
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save(servable, folder, Model(where, run_id, model_id=model_id, metadata=tags))
        client.log_model_artifacts(model_id, str(folder))
        tags[kept.TAG] = kept.keep(evidence, folder, client, run_id, _folder(tags))
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    # Beside a database, MLflow would look the id up at another tracking URI.
    source = f"models:/{model_id}" if run.is_remote else where
    make = partial(client.create_model_version, name, source, run_id, model_id=model_id)
    report = made_in.data.tags.get("mmer.report", "")
    insisted(partial(make, tags=tags, description=_description(servable, evidence, report)))


def _about(servable: ServableModel, name: str) -> str:
    """What the registered model is, for its page."""
    info = servable.fitted.info
    synthetic = "That corpus is synthetic: no score on it is a result. " * servable.synthetic
    return (
        f"Which emotions a recording shows ({', '.join(info.labels)}), learned from {info.corpus}. "
        f"{synthetic}Every version is a system that was trained; `{CHAMPION}` is the one to use, "
        f"`{CANDIDATE}` the one that may be next. Over HTTP: `python -m mmer.serve {name}`."
    )


def _description(servable: ServableModel, evidence: Evidence | None, report: str) -> str:
    """What a version is and scores, for its page."""
    info = servable.assessment.info
    seed = "" if info.seed is None else f", seed {info.seed}"
    figures = servable.assessment.intervals.metrics
    said = ", ".join(f"{title} {interval_text(figures[name])}" for name, title in HEADLINE.items())
    # MLflow's list of versions shows the first line.
    lines = [f"{info.title}{seed}: on {info.split} {said}"]
    if evidence:
        lines.append(scores_note(evidence.comparison))
    if report:
        lines.append(f"Report: `{report}`, and among the artefacts of the run.")
    return "\n\n".join(lines)


def _folder(tags: dict[str, str]) -> str:
    """Where among a run's artefacts a version's evidence is."""
    return f"registered/{digest([tags.get('model'), tags.get('calibration')])[:16]}"


def _tags(servable: ServableModel) -> dict[str, str]:
    info, figures = servable.assessment.info, servable.assessment.intervals.metrics
    fitted = servable.fitted.info
    lacks = {*fitted.may_lack, fitted.without}
    may_lack = sorted(name for name in fitted.widths if name in lacks)
    return {
        **servable.identity,
        "may_lack": json.dumps(may_lack),
        "system": info.system,
        "title": info.title,
        "corpus": info.corpus,
        "fingerprint": info.fingerprint,
        "synthetic": str(servable.synthetic).lower(),
        **{f"{info.split}.{name}": str(figures[name].value) for name in HEADLINE},
    }
