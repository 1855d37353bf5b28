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
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as folder, served(build_graph(Path(folder))) as address:
        screenshot(f"{address}?pid=__default__&types=nodes", "pipeline.png", "1400,900")
        probes = Path(folder) / "probes.html"
        figure = corpora_figure(ComparedCorpora.read(PROBES))
        figure.write_html(probes, config={"displayModeBar": False})
        screenshot(probes.as_uri(), "probes.png", "1100,620")


def build_graph(folder: Path) -> Path:
    """Kedro-Viz as a static site, in light colours and without the tour for newcomers."""
    project = folder / "project"
    ignored = shutil.ignore_patterns(".venv", ".git", "mlartifacts", "*.arrow")
    shutil.copytree(PROJECT, project, ignore=ignored)
    subprocess.run([sys.executable, "-m", "kedro", "viz", "build"], cwd=project, check=True)
    page = project / "build" / "index.html"
    look = (
        '<script>localStorage.KedroViz = \'{"showFeatureHints": false, "theme": "light"}\'</script>'
    )
    page.write_text(page.read_text().replace("<head>", f"<head>{look}", 1))
    return page.parent


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder can be seen."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


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
