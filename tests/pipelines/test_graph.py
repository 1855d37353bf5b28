"""The static site of Kedro-Viz that `make docs` builds, in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest

from mmer.samples.table import SampleTable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine"),
]

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_graph.py"
STAGES = [
    "ingestion",
    "alignment",
    "training",
    "calibration",
    "evaluation",
    "comparison",
    "registration",
]
# From top to bottom.
BOXES = """[...document.querySelectorAll(".pipeline-node")]
  .map(node => [node.getBoundingClientRect().top, node.textContent.trim()])
  .sort((one, other) => one[0] - other[0]).map(([_, name]) => name)"""
OPEN = """[...document.querySelectorAll(".pipeline-node")]
  .filter(node => node.textContent.trim() == "NAME")
  .map(node => node.dispatchEvent(new MouseEvent("click", {bubbles: true}))).length"""
COVERED = """[...document.querySelectorAll(".pipeline-node")].filter(node => {
  const box = node.getBoundingClientRect();
  const there = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return !there || !node.contains(there); }).map(node => node.textContent.trim())"""
# What lies over the name on the panel beside the graph.
OVER = """(() => { const name = document.querySelector(".pipeline-metadata__title");
  const box = name?.getBoundingClientRect();
  return box && document.elementFromPoint(box.left + 2, box.top + box.height / 2)
    ?.closest(".pipeline-metadata, .pipeline-global-toolbar")?.className; })()"""
ERROR_BARS = """[...document.querySelectorAll(".pipeline-plotly-chart path.yerror")]
  .map(bar => getComputedStyle(bar).stroke)"""
BEHIND = 'document.querySelector(".pipeline-plotly-chart .main-svg").style.background'


@pytest.fixture(scope="module")
def site(project) -> Iterator[str]:
    """Its address at Python's own web server."""
    asked = [sys.executable, str(SCRIPT), f"--project={project}", "--env=test"]
    subprocess.run(asked, check=True, capture_output=True)
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind=127.0.0.1"]
    where = {"cwd": project / "build", "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(serve, text=True, **where) as server:
        assert server.stdout
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port
        yield f"http://127.0.0.1:{port[1]}/"
        server.terminate()


@pytest.mark.parametrize("width", [1600, 390])
def test_the_first_picture_is_the_stages_and_they_open_one_by_one(site, width, tmp_path):
    with chromium.running(tmp_path) as browser:
        browser.visit(site, width)
        browser.until(f"{BOXES}.join() == '{','.join(STAGES)}'")
        browser.until(f"!({COVERED}).length")
        browser.until(OPEN.replace("NAME", "training"))
        others = ",".join(stage for stage in STAGES if stage != "training")
        browser.until(f"{BOXES}.filter(name => !name.includes('.')).join() == '{others}'")
        assert {"training.carat", "training.linear"} < set(browser.until(BOXES))
        browser.until(OPEN.replace("NAME", "training.carat"))
        browser.until(f"{BOXES}.includes('fit_system')")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_error_bars_stand_out_from_the_background_of_a_preview(site, theme, tmp_path):
    with chromium.running(tmp_path) as browser:
        browser.visit(f"{site}?pid=__default__&sn=mosei.carat.failures_figure", 1600, theme)
        browser.until(f"{ERROR_BARS}.length")
        behind = luminance(browser.until(BEHIND))
        assert (behind > 0.5) == (theme == "light")
        for colour in set(browser.until(ERROR_BARS)):
            pair = sorted((behind, luminance(colour)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) > 3


def test_the_side_panel_tells_how_large_a_table_is(site, project, tmp_path):
    table = SampleTable(project / "data/03_primary/test/mosei/train.arrow").arrow()
    with chromium.running(tmp_path) as browser:
        browser.visit(f"{site}?pid=__default__&sn=mosei.train_samples", 1600)
        told = rf"\b{table.num_rows}\s*rows\s*{table.num_columns}\s*columns"
        panel = "(document.querySelector('.pipeline-metadata')?.innerText ?? '')"
        assert browser.until(f"/{told}/.test({panel})")


def test_on_a_phone_the_buttons_do_not_cover_the_side_panel(site, tmp_path):
    with chromium.running(tmp_path) as browser:
        browser.visit(f"{site}?pid=__default__&sn=mosei.train_samples", 390)
        browser.until(f"({OVER})?.includes('pipeline-metadata--visible')")


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of "rgb(1, 2, 3)"."""
    parts = [int(one) / 255 for one in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
