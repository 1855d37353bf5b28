"""Make the README's pictures: the report of the last run, the pipeline in Kedro-Viz, and what each
system can learn of the probes (from `benchmarks/results/compare_probes.json`).

Run with `make pictures` after `make train`; needs Chromium (Debian: `apt install chromium`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from make_graph import build, served

from mmer.metrics.seeds import ComparedCorpora
from mmer.reporting.corpora import corpora_figure

PROJECT = Path(__file__).resolve().parents[1]
PROBES = PROJECT / "benchmarks" / "results" / "compare_probes.json"
REPORTS = PROJECT / "data" / "08_reporting" / "base"


def main() -> None:
    reports = sorted(REPORTS.glob("*/*/report.html/*/report.html"), key=os.path.getmtime)
    if not reports:
        sys.exit("No report yet: run `make train` first.")
    screenshot(reports[-1].as_uri(), "report.png", "1200,1500")
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        build(site)
        with served(site) as address:
            screenshot(address, "pipeline.png", "1400,900")
        probes = Path(folder) / "probes.html"
        figure = corpora_figure(ComparedCorpora.read(PROBES))
        figure.write_html(probes, config={"displayModeBar": False})
        screenshot(probes.as_uri(), "probes.png", "1100,620")


def screenshot(address: str, name: str, size: str) -> None:
    """A picture of a page in this folder."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is missing: install it, `apt install chromium` on Debian.")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
    wait = "--virtual-time-budget=20000"
    picture = f"--screenshot={Path(__file__).with_name(name)}"
    subprocess.run([browser, *options, wait, picture, address], check=True)


if __name__ == "__main__":
    main()
