"""What a run is configured with, as a user wrote it: which file sets what, and what reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mmer.errors import InputError

COMMAND = "--params"

_SUFFIXES = (".yml", ".yaml", ".json")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BESIDE = "logging.yml"  # what lies beside the environments


class Source:
    """A file, or the command's option, and what it sets before anything is merged or resolved."""

    def __init__(self, name: str, text: str = "", content: Mapping[str, Any] | None = None) -> None:
        self.name, self.text = name, text
        self._given = content

    def check(self) -> None:
        """Refuse what is no mapping of names, at any depth, and names with dots in them.

        Raises:
            InputError: Kedro would fail on it with a traceback, or pass it by in silence.
        """
        if not isinstance(self._loaded, Mapping | None):
            found = f"a {type(self._loaded).__name__}"
            raise InputError(self.name, "", "names and what they set, `name: value`", found)
        self._check_names(self.content, ())

    def _check_names(self, content: Mapping[Any, Any], above: tuple[str, ...]) -> None:
        for name, value in content.items():
            place = ".".join(above)
            if not isinstance(name, str):
                raise InputError(self.name, place, "names that are text", repr(name))
            if "." in name and self.name != COMMAND:
                first, _, rest = name.partition(".")
                remedy = f"Write {first}: and, indented below it, {rest}: instead."
                raise InputError(self.name, place, "a name without dots", name, remedy)
            if isinstance(value, Mapping):
                self._check_names(value, (*above, name))

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What it sets; nothing if it is no mapping of names."""
        return self._loaded if isinstance(self._loaded, Mapping) else {}

    @cached_property
    def _loaded(self) -> Any:
        """What stands in it; None if it is no YAML, which Kedro reports."""
        if self._given is not None:
            return self._given
        try:
            return yaml.load(self.text, _LOADER)
        except yaml.YAMLError:
            return None

    def sets(self, path: tuple[str, ...]) -> bool:
        """Whether the value at this path is set here."""
        value: Any = self.content
        for part in path:
            if not (isinstance(value, Mapping) and part in value):
                return False
            value = value[part]
        return True


class Configuration:
    """The files that a run reads: those of the base, then those of its environment.

    Args:
        loader: Kedro's. Of one that reads an archive or an address no files are known.
    """

    def __init__(self, loader: Any) -> None:
        self.root = Path(loader.conf_source)
        self._patterns: dict[str, list[str]] = getattr(loader, "config_patterns", {})
        self._given = loader.runtime_params or {}
        self._sources: dict[str, list[Source]] = {}
        self._own = loader.default_run_env
        self.environment = self.root / (loader.env or self._own)
        names = dict.fromkeys([loader.base_env, self.environment.name])
        self._folders = [folder for name in names if name and (folder := self.root / name).is_dir()]

    def sources(self, kind: str) -> list[Source]:
        """The files of one kind; of parameters also what the command sets, at the end."""
        if kind not in self._sources:
            files = (file for one in self._folders for file in sorted(self._files(one, kind)))
            self._sources[kind] = [source for file in files for source in self._read(file)]
            if kind == "parameters":
                self._sources[kind].append(Source(COMMAND, content=self._given))
        return self._sources[kind]

    def wanted(self, resolver: str) -> set[str]:
        """What catalog, parameters and globals take from `runtime_params`, or from `globals`."""
        kinds = ("catalog", "parameters", "globals")
        return {
            name
            for kind in kinds
            for source in self.sources(kind)
            for name in wanted(source.text, resolver)
        }

    def passed_by(self) -> list[str]:
        """Files of this machine's own settings, where another environment was chosen."""
        folder = self.root / self._own
        if folder == self.environment:
            return []
        files = {file for kind in self._patterns for file in self._files(folder, kind)}
        return sorted(map(self.shown, files))

    def unread(self) -> list[str]:
        """Files that look like configuration and that nothing reads."""
        beside = [file for file in self.root.glob("*") if file.name != _BESIDE]
        inside = [
            file
            for folder in self._folders
            for file in {*folder.rglob("*")}.difference(
                *(self._files(folder, kind) for kind in self._patterns)
            )
        ]
        return sorted(self.shown(f) for f in [*beside, *inside] if self._is_configuration(f))

    def shown(self, file: Path) -> str:
        """A file's name as seen from the project."""
        return os.path.relpath(file, self.root.parent)

    def _files(self, folder: Path, kind: str) -> set[Path]:
        patterns = (re.sub(r"\*\*$", "**/*", pattern) for pattern in self._patterns[kind])
        found = {file for pattern in patterns for file in folder.glob(pattern)}
        return {file for file in found if self._is_configuration(file)}

    def _is_configuration(self, file: Path) -> bool:
        hidden = any(part.startswith(".") for part in file.relative_to(self.root).parts)
        return file.suffix in _SUFFIXES and not hidden and file.is_file()

    def _read(self, file: Path) -> list[Source]:
        try:
            return [Source(self.shown(file), file.read_text(encoding="utf-8"))]
        except (OSError, ValueError):
            return []  # Kedro's to report


def wanted(text: str, resolver: str) -> set[str]:
    """The names that a text takes from a resolver: `${resolver:name, default}`."""
    return set(re.findall(rf"\$\{{{resolver}:\s*([\w-]+)", text))
