"""Refuses what is asked for and would be ignored: names and files that nothing reads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from kedro.config import MissingConfigException
from kedro.framework import project
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from mmer.errors import InputError
from mmer.schema import Settings

from .configuration import COMMAND, Configuration, wanted
from .names import Name, first_fault, leaf, names_of, nearest
from .parameters import known_settings

_PARAMS = "params:"
_KINDS = ("parameters", "catalog", "globals", "credentials")
_NAMES_SHOWN = 12

_log = logging.getLogger(__name__)


class NothingIgnored:
    """Stops a run that is asked for something that nothing would read.

    What files set must be known to some pipeline; what the command sets, to the one that it runs.
    """

    def __init__(self) -> None:
        self._configuration: Configuration | None = None

    @hook_impl(trylast=True)  # pipelines may be looked at, which AskedCells must be first for
    def after_context_created(self, context: KedroContext) -> None:
        """Look at the files of this environment, and at every name in them and in `--params`.

        Raises:
            InputError: Nothing reads it, or it has a value that its settings do not take.
        """
        self._configuration = found = Configuration(context.config_loader)
        _check_environment(found)
        _check_files(found)
        if own := found.passed_by():
            chosen = found.environment.name
            _log.warning("In environment %s, Kedro does not read %s.", chosen, ", ".join(own))
        for source in found.sources("parameters"):
            source.check()
        _check_globals(found)
        try:
            given = context.config_loader["parameters"]
        except MissingConfigException:
            given = context.config_loader.runtime_params or {}
        except TypeError as error:  # of a list or a value where another file has names
            expected = "names below what has names elsewhere, `name: value`"
            raise InputError("parameters", "", expected, str(error)) from error
        _Parameters(found).check(given)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Look whether the pipelines that are run take what the command sets.

        All their nodes count, so that stages can be run one by one with the same parameters.

        Raises:
            InputError: None of them does.
        """
        assert self._configuration is not None
        _check_entries(self._configuration)
        _check_versions(run_params.get("load_versions") or {}, pipeline, catalog)
        given = run_params.get("runtime_params") or {}
        names = run_params.get("pipeline_names") or ["__default__"]
        asked = sum((project.pipelines[name] for name in names), Pipeline([]))
        read = _parameters_of([asked])
        for owner, value in given.items():
            if _is_read((owner,), read):
                for key in value if isinstance(value, Mapping) else ():
                    if not _is_read((owner, key), read):
                        _refuse_here((owner, key, *leaf(value[key])), read, names)
            elif not self._is_taken(owner, asked, catalog):
                every = sorted(project.pipelines.items())
                takers = (key for key, one in every if self._is_taken(owner, one, catalog))
                _refuse_here((owner, *leaf(value)), read, names, next(takers, None))

    def _is_taken(self, name: str, asked: Pipeline, catalog: Any) -> bool:
        """Whether an entry that these pipelines use takes it from `--params`."""
        assert self._configuration is not None
        sources = self._configuration.sources("catalog")
        entries = {entry: one for source in sources for entry, one in source.content.items()}
        shared = [key for key, one in entries.items() if name in wanted(str(one), "runtime_params")]
        if any(key.startswith("_") for key in shared):
            return True  # what many entries have in common
        return any(
            (one if one in entries else catalog.config_resolver.match_dataset_pattern(one))
            in shared
            for one in asked.datasets()
        )


class _Parameters:
    """What parameters there are, and where those that are given stand."""

    def __init__(self, configuration: Configuration) -> None:
        self._sources = configuration.sources("parameters")
        self._settings = known_settings()
        self._runtime = configuration.wanted("runtime_params")
        self._globals = configuration.wanted("globals")

    def check(self, given: Mapping[str, Any]) -> None:
        """Look at all of them, as they are after files and command have been merged."""
        for owner, value in given.items():
            if owner in self._runtime or owner in self._globals:
                self._check_runtime(owner)
            elif owner not in self._settings:
                template = owner.startswith("_") and self._place((owner,)) != COMMAND
                if not (template or _is_read((owner,), _registered())):
                    self._refuse((owner, *leaf(value)), 0)
            elif not isinstance(value, Mapping):
                expected = f"settings by name, such as {owner}.{next(iter(self._settings[owner]))}"
                raise InputError(self._place((owner,)), owner, expected, repr(value))
            else:
                self._check_settings(owner, value)

    def _check_settings(self, owner: str, given: Mapping[str, Any]) -> None:
        for key, value in given.items():
            kind = self._settings[owner].get(key)
            if kind is None:
                if not _is_read((owner, key), _registered()):
                    self._refuse((owner, key, *leaf(value)), 1)
            elif fault := first_fault(kind, value):
                name, found = (owner, key, *fault.place), _at(value, fault.place)
                if fault.unknown:
                    self._refuse((*name, *leaf(found)), len(name) - 1)
                raise InputError(self._place(name), ".".join(name), fault.message, repr(found))

    def _check_runtime(self, name: str) -> None:
        """What catalogs take from the command stands in no file of parameters."""
        for source in self._sources:
            if source.name == COMMAND and name not in self._runtime and name in source.content:
                remedy = "Set it in the globals.yml of an environment."
                raise InputError(COMMAND, name, "parameters", "a name of globals.yml", remedy)
            if source.name != COMMAND and name in source.content:
                place = " or set it in globals.yml" if name in self._globals else ""
                remedy = f"Give it as --params={name}=...{place}."
                raise InputError(source.name, name, "parameters of nodes", "none of them", remedy)

    def _refuse(self, name: Name, depth: int) -> NoReturn:
        """A name of which the first `depth` parts are right, and the next is not."""
        place, right = self._place(name[: depth + 1]), name[:depth]
        owners = [(owner, key) for owner, kinds in self._settings.items() for key in kinds]
        known = [one for owner in owners for one in _names_in(owner, self._settings)]
        known += [(one,) for one in sorted(self._runtime) if place == COMMAND]
        parts = dict.fromkeys(one[depth] for one in known if one[:depth] == right != one)
        raise InputError(
            place,
            ".".join(name),
            "a parameter that something reads",
            f"{name[depth]!r}, which nothing does",
            _remedy(nearest(name, depth, known), parts),
        )

    def _place(self, name: Name) -> str:
        """Where it is set: the last of the places counts."""
        found = [source.name for source in self._sources if source.sets(name)]
        return found[-1] if found else "parameters"


def _refuse_here(
    name: Name, read: set[str], pipelines: Iterable[str], taker: str | None = None
) -> NoReturn:
    """A parameter that there is, but not in the pipelines that are run; perhaps in a `taker`."""
    settings, taken = known_settings(), (tuple(owner.split(".")) for owner in sorted(read))
    known = [one for owner in taken for one in _names_in(owner, settings)]
    same = [".".join(one) for one in known if one[1:] == name[1:] and len(name) > 1]
    every = project.pipelines.items()
    others = (key for key, one in every if _is_read(name, _parameters_of([one])))
    other = taker or next((key for key in others if key != "__default__"), None)
    if same:
        remedy = f"Did you mean {same[0]}?"
    else:
        remedy = f"Leave it out, or run {other}, which takes it." if other else "Leave it out."
    expected = f"a parameter of {', '.join(pipelines)}"
    raise InputError(COMMAND, ".".join(name), expected, "one of other pipelines", remedy)


def _check_environment(configuration: Configuration) -> None:
    folder = configuration.environment
    if folder.is_dir():
        return
    if folder.name == settings.CONFIG_LOADER_ARGS["default_run_env"]:
        expected = f"a folder {folder.name}, for what is set on this machine alone"
        remedy = f"Make it; it may be empty: mkdir {folder}"
        raise InputError(configuration.root, "", expected, "none", remedy)
    there = sorted(one.name for one in configuration.root.iterdir() if one.is_dir())
    meant = get_close_matches(folder.name, there, 1)
    remedy = f"Did you mean {meant[0]}?" if meant else f"Make the folder {folder}, or leave it out."
    raise InputError("--env", "", f"one of {', '.join(there)}", folder.name, remedy)


def _check_versions(asked: Mapping[str, str], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    for name, version in asked.items():
        if name not in pipeline.inputs():
            known = sorted(one for one in pipeline.inputs() if not one.startswith(_PARAMS))
            is_made = name in pipeline.datasets()
            near = [] if is_made else get_close_matches(name, known, 1)
            remedy = f"Did you mean {near[0]}?" if near else "Leave it out."
            expected = "an entry that this run reads and does not make"
            found = "one that it makes" if is_made else "another"
            raise InputError("--load-versions", name, expected, found, remedy)
        dataset = catalog.get(name)
        if dataset is not None and not dataset.exists():
            there: list[str] = getattr(getattr(dataset, "place", None), "versions", list)()
            expected = f"one of {', '.join(there[:3])}" if there else "a version of it"
            raise InputError("--load-versions", name, expected, f"no version {version}")


def _check_files(configuration: Configuration) -> None:
    for file in configuration.unread():
        path = Path(file)
        close = get_close_matches(path.name.split(".")[0].lower(), _KINDS, 1, 0.5)
        folder = "base" if path.parent.name == configuration.root.name else path.parent.name
        meant = f"{configuration.root.name}/{folder}/{close[0]}.yml" if close else ""
        remedy = f"Rename it to {meant}." if meant else "Rename it, or move it out of there."
        expected = (
            "parameters*.yml, catalog*.yml, credentials*.yml or globals.yml of an environment"
        )
        raise InputError(file, "", expected, "a file that nothing reads", remedy)


def _check_globals(configuration: Configuration) -> None:
    known = configuration.wanted("globals")
    for source in configuration.sources("globals"):
        for name in source.content:
            if name not in known and not name.startswith("_"):
                meant = nearest((name,), 0, [(one,) for one in sorted(known)])
                expected = "a name that catalog or parameters read"
                remedy = _remedy(meant, sorted(known))
                raise InputError(source.name, name, expected, "one that nothing reads", remedy)


def _check_entries(configuration: Configuration) -> None:
    """Entries that no pipeline has are for notebooks, unless their name is nearly that of one."""
    names = {name for one in project.pipelines.values() for name in one.datasets()}
    for source in configuration.sources("catalog"):
        for entry in source.content:
            if entry.startswith("_") or "{" in entry or entry in names:
                continue
            if close := get_close_matches(entry, sorted(names), 1, 0.85):
                expected, remedy = "an entry that a pipeline has", f"Did you mean {close[0]}?"
                raise InputError(source.name, entry, expected, "one that none has", remedy)


def _remedy(meant: str, known: Iterable[str]) -> str:
    if meant:
        return f"Did you mean {meant}?"
    names = list(known)
    more = len(names) - _NAMES_SHOWN
    shown = [*names[:_NAMES_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return f"There are: {', '.join(shown)}."


def _registered() -> set[str]:
    """Parameters that nodes of any pipeline read."""
    return _parameters_of(project.pipelines.values())


def _parameters_of(pipelines: Iterable[Pipeline]) -> set[str]:
    inputs = {name for one in pipelines for name in one.inputs()}
    return {name.removeprefix(_PARAMS) for name in inputs if name.startswith(_PARAMS)}


def _is_read(name: Name, read: Iterable[str]) -> bool:
    """Whether nodes read it, a part of it, or something that it is a part of."""
    dotted = ".".join(name) + "."
    return any(f"{one}.".startswith(dotted) or dotted.startswith(f"{one}.") for one in read)


def _names_in(owner: Name, settings: Mapping[str, Mapping[str, type[Settings]]]) -> list[Name]:
    """Every name under that of settings, and their own."""
    kind = settings.get(owner[0], {}).get(owner[-1])
    return [owner, *((*owner, *rest) for rest in names_of(kind))] if kind else [owner]


def _at(value: Any, place: Name) -> Any:
    for part in place:
        value = value[part] if isinstance(value, Mapping) else value
    return value
