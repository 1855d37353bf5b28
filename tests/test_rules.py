"""The rules of the house that are held by reading the source and the graph.

Imports are import-linter's matter (pyproject.toml, `make lint`). Each check here is also shown a
violation, so that it is known to be able to fail.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pandas as pd
import plotly.graph_objects as go
import pytest

from mmer.corpora import CORPORA
from mmer.pipeline_registry import register_pipelines
from mmer.samples.table import SampleTable
from mmer.schema import Record
from mmer.systems import SYSTEMS

SOURCE = Path(__file__).resolve().parents[1] / "src" / "mmer"
LONGEST_FUNCTION = 60

Sources = dict[str, str]
Check = Callable[[Sources], list[str]]


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Path within the package -> source."""
    return {
        str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
    }


def lines_with(pattern: str, sources: Sources, allowed: tuple[str, ...]) -> list[str]:
    found = re.compile(pattern, re.IGNORECASE)
    return [
        f"{path}:{number}: {line.strip()}"
        for path, source in sources.items()
        if not path.startswith(allowed)
        for number, line in enumerate(source.splitlines(), 1)
        if found.search(line)
    ]


def folders_of(package: str) -> set[str]:
    """Names of the folders that hold the members of SYSTEMS or CORPORA."""
    return {p.name for p in (SOURCE / package).iterdir() if (p / "__init__.py").is_file()}


def systems_named_elsewhere(sources: Sources) -> list[str]:
    """Rule 2: a system's name stands in its own folder and in SYSTEMS.

    Words of the language that are also names may stand in sentences, not in quotes or imports.
    """
    words = {"linear", "constant", "pooled"}
    names = {*SYSTEMS, *folders_of("systems")} - {"layers"}
    anywhere = "|".join(sorted(names - words))
    quoted = "|".join(sorted(names))
    # A name may stand in the middle of another word ("frames"), but not at the beginning of one.
    pattern = rf"(?<![a-z])({anywhere})|[\"']({quoted})[\"']|systems\.({quoted})\b"
    return lines_with(pattern, sources, ("systems/",))


def corpora_named_elsewhere(sources: Sources) -> list[str]:
    """Rule 2: a corpus's name stands in its own folder and in CORPORA."""
    names = "|".join({*CORPORA, *folders_of("corpora")})
    return lines_with(rf"(?!memor(y|ies))({names})", sources, ("corpora/",))


def modalities_named_elsewhere(sources: Sources) -> list[str]:
    """The data contract: which modalities there are stands in the tables."""
    # In formats, "text" is what a value can be.
    allowed = ("corpora/", "formats/", "systems/carat/published.py", "systems/carat/settings.py")
    return lines_with(r"""["'](text|visual|audio|vision)["']""", sources, allowed)


def atomic_writes_elsewhere(sources: Sources) -> list[str]:
    """Rule 6: files are renamed into place in one module."""
    pattern = r"os\.replace|\.rename\(|shutil\.move|\.partial\b|mkstemp"
    return lines_with(pattern, sources, ("files.py",))


def decisions_elsewhere(sources: Sources) -> list[str]:
    """Rule 6: a score is compared with a threshold in one module."""
    pattern = r"(scores?|values)\S*\s*>=?\s*\S*thresholds?\b|predicted = .*>"
    return lines_with(pattern, sources, ("metrics/decisions.py",))


def f1_elsewhere(sources: Sources) -> list[str]:
    """Rule 6: the formula of F1 stands in one module (scikit-learn's apart)."""
    pattern = r"\b2(\.0)? ?\* ?\w+( ?\* ?\w+)? ?/(?!/)|ratio\(2 \*"
    return lines_with(pattern, sources, ("metrics/counts.py",))


def group_numbers_elsewhere(sources: Sources) -> list[str]:
    """Rule 6: groups are numbered in one function."""
    pattern = r"group.*(return_inverse|factorize\()|factorize\(.*group"
    return lines_with(pattern, sources, ("metrics/counts.py",))


def long_functions(sources: Sources) -> list[str]:
    """A function fits a screen."""
    return [
        f"{path}:{node.lineno}: {node.name}"
        for path, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]


CHECKS: list[tuple[Check, str]] = [
    (systems_named_elsewhere, "# as CARAT does\n"),
    (systems_named_elsewhere, "if isinstance(system, CaratSystem):\n    pass\n"),
    (systems_named_elsewhere, "if system == 'linear':\n    pass\n"),
    (systems_named_elsewhere, "from mmer.systems.constant.system import AllPositive\n"),
    (corpora_named_elsewhere, "CmuMosei()\n"),
    (corpora_named_elsewhere, "if corpus == 'mosei':\n    pass\n"),
    (corpora_named_elsewhere, "if memory and corpus == 'memor':\n    pass\n"),
    (modalities_named_elsewhere, "x = features['visual']\n"),
    (atomic_writes_elsewhere, "os.replace(a, b)\n"),
    (decisions_elsewhere, "present = scores.scores > thresholds\n"),
    (f1_elsewhere, "f1 = 2 * precision * recall / (precision + recall)\n"),
    (f1_elsewhere, "f1 = 2 * hits / (predicted + positives)\n"),
    (group_numbers_elsewhere, "numbers = np.unique(group_ids, return_inverse=True)[1]\n"),
    (long_functions, "def f():\n" + "    pass\n" * LONGEST_FUNCTION),
]


@pytest.mark.parametrize("check", dict(CHECKS), ids=lambda check: check.__name__)
def test_the_source_keeps_the_rule(check, sources):
    assert check(sources) == []


@pytest.mark.parametrize(("check", "violation"), CHECKS)
def test_a_violation_is_found(check, violation):
    assert check({"evaluation/planted.py": violation})


def untyped(function: Callable) -> Iterator[str]:
    """Rule 4: what a node returns that is no typed object."""
    while isinstance(function, partial):
        function = function.func
    returned = get_type_hints(function).get("return", Any)
    parts = get_args(returned) if get_origin(returned) is tuple else (returned,)
    for part in parts:
        is_table = part in (SampleTable, go.Figure, pd.DataFrame, str)
        is_record = isinstance(part, type) and issubclass(part, Record | tuple)
        if not (is_table or is_record or dataclasses.is_dataclass(part)):
            yield f"{function.__name__} returns {part}"


def test_nodes_hand_each_other_typed_objects():
    nodes = {node.func for pipeline in register_pipelines().values() for node in pipeline.nodes}
    assert len(nodes) > 10
    assert [problem for function in nodes for problem in untyped(function)] == []


def test_a_dictionary_between_nodes_is_found():
    def node() -> tuple[str, dict[str, int]]:
        return "", {}

    assert list(untyped(node)) == ["node returns dict[str, int]"]
    assert list(untyped(lambda: {}))


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("metrics/planted.py", "import mmer.systems"),
        ("evaluation/planted.py", "from mmer.systems import SYSTEMS"),
        ("training/planted.py", "import kedro"),
        ("systems/planted.py", "import mlflow"),
        ("systems/pooled/planted.py", "import mmer.systems.carat"),
    ],
)
def test_an_import_against_the_rules_is_found(tmp_path, module, line):
    root = SOURCE.parents[1]
    (tmp_path / "pyproject.toml").write_text((root / "pyproject.toml").read_text())
    for name in ("mmer",):
        (tmp_path / name).mkdir()
    for path in SOURCE.rglob("*.py"):
        copy = tmp_path / "mmer" / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "mmer" / module).write_text(line + "\n")
    found = lint_imports(tmp_path)
    assert found.returncode != 0
    assert "planted" in found.stdout
