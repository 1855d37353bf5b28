"""The page that a whole run leaves, in a browser, and what it says to do next."""

from __future__ import annotations

import re

import chromium
import pytest

from mmer.pipeline_registry import register_pipelines


@pytest.fixture
def page(saved):
    return saved("test", "mosei", "carat/report.html")[-1]


@pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine")
def test_nothing_is_wrong_with_the_page_of_a_run(page, tmp_path):
    with chromium.running(tmp_path) as browser:
        assert [browser.problems(page, width) for width in (1600, 390)] == [[], []]


def test_the_page_names_pipelines_that_there_are(page):
    named = re.findall(r"--pipelines=(\w+)", page.read_text())
    assert named
    assert set(named) <= set(register_pipelines())


def test_attention_is_shown_in_every_modality_where_right_and_where_wrong(page):
    text = page.read_text()
    attention = text[
        text.index('<section id="attention">') : text.index('<section id="published">')
    ]
    for said in (
        *("text", "visual", "audio"),
        "The most confident correct prediction of",
        "The most confident wrong prediction of",
        "without random steps",
    ):
        assert said in attention, said
