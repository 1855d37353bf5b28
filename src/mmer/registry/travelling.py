"""What of this package, and which other packages, a piece of code needs wherever it runs."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parents[1]


class Needed(NamedTuple):
    """Files of this package, relative to it, and requirements ("numpy==2.0") of others."""

    files: tuple[Path, ...]
    requirements: tuple[str, ...]


@cache  # neither this package nor what is installed changes while it runs
def needed_by(code: Path) -> Needed:
    """What importing a file of this package imports, directly or not.

    What is imported within functions, or for the sake of types, is not counted.
    """
    waiting, files, others = [code.resolve()], set(), set()
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        waiting += [
            folder / "__init__.py" for folder in path.parents if folder.is_relative_to(_PACKAGE)
        ]
        for name in _imported(path):
            top, *rest = name.split(".")
            if top != _PACKAGE.name:
                others.add(top)
            elif module := _file(rest):
                waiting.append(module)
    return Needed(
        tuple(sorted(path.relative_to(_PACKAGE) for path in files)), _requirements(others)
    )


def copy(needed: Needed, folder: Path) -> Path:
    """Copy the files into `folder`, where the package is then; return the package's folder."""
    package = folder / _PACKAGE.name
    for file in needed.files:
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_PACKAGE / file, package / file)
    return package


def _imported(path: Path) -> Iterator[str]:
    """Names of modules, and of what may be one, that the file imports when it is run."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(path, node)
        waiting += ast.iter_child_nodes(node)


def _from(path: Path, node: ast.ImportFrom) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        folder = path.parents[node.level - 1]
        parts = (_PACKAGE.name, *folder.relative_to(_PACKAGE).parts, *filter(None, [node.module]))
        base = ".".join(parts)
    yield base
    yield from (f"{base}.{alias.name}" for alias in node.names)


def _file(parts: list[str]) -> Path | None:
    """The file of a module of this package; None of a name that is none."""
    path = _PACKAGE.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _requirements(tops: set[str]) -> tuple[str, ...]:
    """Packages by the modules that are imported of them, pinned.

    Without the local part ("+cpu") that no index has.
    """
    known = packages_distributions()
    found = [(top, known[top]) for top in tops - set(sys.stdlib_module_names) if top in known]
    # A module can be in several packages: the one that is called as it is has all of it.
    names = {top if top in owners else owners[0] for top, owners in found}
    return tuple(f"{name}=={installed_version(name).partition('+')[0]}" for name in sorted(names))
