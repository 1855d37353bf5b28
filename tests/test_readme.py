"""What the README and the page of figures say is what files say that commands have made."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from mmer.pipeline_registry import register_pipelines

sys.path.insert(0, str(Path(__file__).resolve().parent / "first_day"))
import readme

ROOT = Path(__file__).resolve().parents[1]
PAGES = readme.PAGES


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_files(page):
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs/make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert ROOT / page in tables.PAGES
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("<!-- end -->") >= 2
    assert tables.filled(text) == text, "run `make tables`"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)]+)\)", text):
        file, _, title = target.partition("#")
        there = (ROOT / page).parent / file if file else ROOT / page
        assert there.exists(), target
        assert not title or title in _anchors(there.read_text(encoding="utf-8")), target


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in titles}


def test_what_the_walk_does_not_type_is_named_as_it_stands():
    """With the test that runs it, which there is, or with why nothing does."""
    apart = {**readme.ELSEWHERE, **readme.LEFT_OUT}
    assert set(apart) <= set(readme.commands()), "what the README no longer says"
    for command, (file, name) in readme.ELSEWHERE.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(name, text), f"{command}: {name} is not in {file}"


def test_commands_name_pipelines_that_there_are():
    known = register_pipelines()
    for command in readme.commands():
        for names in re.findall(r"--pipelines?=(\S+)", command):
            assert all(name in known for name in names.split(",")), command
