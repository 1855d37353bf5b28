"""Pages of several kinds at any size: nothing scrolls sideways, everything has a name."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import chromium
import pytest

from mmer.reporting.ablations import render_ablations
from mmer.reporting.this_run import ThisRun, announced, this_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine"),
]

RUN = ThisRun(name="a run", began="2026-01-02 03:04", command="kedro run --env=test", facts={})
_ASK = """
(() => {
  const wrong = [], all = (which) => [...document.querySelectorAll(which)];
  if (all("h1").length !== 1) wrong.push(`${all("h1").length} h1`);
  let last = 0;
  for (const one of all("h1, h2, h3, h4")) {
    const level = Number(one.tagName[1]);
    if (level > last + 1) wrong.push(`heading: ${one.textContent} is ${level} after ${last}`);
    last = level;
  }
  for (const one of all("table"))
    if (!one.caption?.textContent.trim()) wrong.push(`no caption: ${one.textContent.slice(0, 40)}`);
  for (const one of all("th")) if (!one.scope) wrong.push(`no scope: ${one.textContent}`);
  for (const one of all("img, svg:not(#js-plotly-tester)"))
    if (!one.closest("[role=img][aria-label]") && !one.alt) wrong.push("picture without a name");
  for (const one of all(".plotly-graph-div"))
    if (!one.closest("figure").querySelector("figcaption")?.textContent.trim())
      wrong.push(`no caption: ${one.id}`);
  for (const one of all(".scroll"))
    if (one.scrollWidth > one.clientWidth && one.tabIndex) wrong.push("no keyboard");
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wrong.push(`${root.scrollWidth} pixels wide`);
  return wrong;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[chromium.Chromium]:
    with chromium.running(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory, compare_made, side_by_side):
    compared = compare_made({"Toy": 0.6, "contrast": 0.1}, whole="Toy", resamples=100)
    with announced(RUN):
        text = render_ablations(side_by_side({"Toy Corpus": compared}))
    file = tmp_path_factory.mktemp("pages") / "page.html"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [390, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_whole_at_any_size(browser, page, width, scheme):
    wanted = [{"name": "prefers-color-scheme", "value": scheme}]
    assert browser.problems(page, width) == []
    browser._ask("Emulation.setEmulatedMedia", media="screen", features=wanted)
    assert browser._value(_ASK) == []
    shade = browser._value("getComputedStyle(document.body).backgroundColor")
    assert (shade == "rgb(255, 255, 255)") == (scheme == "light")
    assert RUN.command in browser._value("document.body.innerText")


def test_what_is_missing_is_found(browser, page, tmp_path):
    broken = "<h1>two</h1><h4>deep</h4><table><tr><th>bare</th></tr></table><img width=1>"
    text = page.read_text(encoding="utf-8").replace("</main>", f"{broken}</main>")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    browser.problems(tmp_path / "page.html", 390)
    found = " | ".join(browser._value(_ASK))
    for problem in ("2 h1", "heading: deep", "no caption", "no scope: bare", "without a name"):
        assert problem in found


def test_it_prints_in_light_colours(browser, page):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.problems(page, 800)
    browser._ask("Emulation.setEmulatedMedia", media="print", features=dark)
    shade = browser._value("getComputedStyle(document.body).backgroundColor")
    assert shade == "rgb(255, 255, 255)"
    assert browser._value("getComputedStyle(document.querySelector('figure')).breakInside")
    browser._ask("Emulation.setEmulatedMedia", media="", features=[])
    told = browser._ask("Page.printToPDF", printBackground=False)
    assert base64.b64decode(told["data"]).startswith(b"%PDF")


def test_a_run_is_known_only_while_it_is_under_way():
    assert this_run() is None
    with announced(RUN):
        assert this_run() == RUN
    assert this_run() is None
