"""Build Kedro-Viz as a static site: the stages of the pipelines, which open one by one, with what
the last runs have stored of every dataset.

`make docs` builds it in `build/`, from where any web server shows it; `make viz` shows it as well.

`kedro viz build` takes in every registered pipeline. An ablation has up to 1800 nodes and 8000
datasets, for which it needs more than the five minutes after which it gives up.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
from kedro_viz.data_access import data_access_manager
from kedro_viz.integrations.deployment.base_deployer import BaseDeployer
from kedro_viz.integrations.kedro.data_loader import load_data
from kedro_viz.server import populate_data

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "mmer"
_PORT = 4141
_MOST_NODES = 100
"""A graph of more is not for people to read."""
# What a browser shows of a site that it has not seen yet: stages alone, without the tour for
# newcomers, in the colours that the system has; on a phone without the map, which would cover them.
# The panel beside the graph would lie there under the buttons on the left, 80 pixels of them.
_FIRST_LOOK = """<script>
localStorage.KedroViz ??= JSON.stringify({
  nodeType: {disabled: {task: false, data: true, parameters: true}},
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
  visible: {miniMap: Math.min(screen.width, innerWidth) > 600},
  showFeatureHints: false,
});
</script>
<style>@media (max-width: 600px) { body .pipeline-metadata { left: 80px; width: auto; } }</style>"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Kedro-Viz as a static site.")
    parser.add_argument("--project", type=Path, default=PROJECT, help="its folder")
    parser.add_argument("--env", default=os.environ.get("KEDRO_ENV"), help="Kedro's environment")
    parser.add_argument("--show", action="store_true", help="serve it and open a browser")
    asked = parser.parse_args()
    folder = asked.project.resolve() / "build"
    build(folder, asked.project.resolve(), asked.env)
    if not asked.show:
        print(f"The pipelines: python -m http.server {_PORT} --directory {folder.name}")
        return
    with served(folder, _PORT) as address:
        print(f"The pipelines: {address} (Ctrl-C ends it)")
        webbrowser.open(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


def build(folder: Path, project: Path = PROJECT, env: str | None = None) -> None:
    """Write the site, in the place of what is in the folder."""
    os.chdir(project)
    # Datasets that no run has stored yet have no preview; that is no news.
    logging.getLogger("kedro_viz").setLevel(logging.ERROR)
    catalog, pipelines, extras = load_data(project, env, include_hooks=True, package_name=PACKAGE)
    shown = {name: one for name, one in pipelines.items() if len(one.nodes) <= _MOST_NODES}
    populate_data(data_access_manager, catalog, shown, extras)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _Site(folder).deploy(is_all_previews_enabled=True)
    page = folder / "index.html"
    html = page.read_text(encoding="utf-8")
    page.write_text(html.replace("<head>", f"<head>{_FIRST_LOOK}", 1), encoding="utf-8")


class _Site(BaseDeployer):
    """Kedro-Viz's files in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path, self._fs = folder, fsspec.filesystem("file")


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """The address at which a folder can be seen; another port if this one is taken."""
    handler = partial(_Quiet, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *told: Any) -> None:
        """Say nothing of every file."""


if __name__ == "__main__":
    main()
