"""How large the tables are that a run has made, where Kedro-Viz looks for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline

from mmer.errors import InputError
from mmer.files import write_text

if TYPE_CHECKING:
    from mmer.datasets.files import VersionedFile

_FILE = Path(".viz", "stats.json")
_LOGGER = logging.getLogger(__name__)


class TableStatistics:
    """Rows, columns and bytes of every table, for the side panel of Kedro-Viz.

    Kedro-Viz keeps them of data frames alone, of the last run alone, and of versioned files with
    the size of their folder.
    """

    def __init__(self) -> None:
        self._file = _FILE
        self._before: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep what is known from earlier runs."""
        self._file = Path(context.project_path, _FILE)
        self._before = _known(self._file)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Add the tables of this run; one that cannot be read is left out."""
        found = {}
        for name in sorted(pipeline.all_outputs()):
            try:
                if statistics := _statistics(catalog.get(name)):
                    found[name] = statistics
            except (DatasetError, InputError, OSError) as error:
                _LOGGER.debug("No statistics of %s: %s", name, error)
        known = {**self._before, **_known(self._file), **found}
        try:
            self._file.parent.mkdir(exist_ok=True)
            write_text(self._file, json.dumps(known, indent=1))
        except OSError as error:  # the run has stored all that it was for
            _LOGGER.debug("No statistics: %s", error)


def _known(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _statistics(dataset: Any) -> dict[str, int] | None:
    """Of a table on this machine; none of anything else."""
    from mmer.datasets.files import FrameFile, ScoresTable
    from mmer.datasets.places import Disk
    from mmer.datasets.sample_tables import SampleTableFile

    if not isinstance(dataset, (FrameFile, SampleTableFile, ScoresTable)):
        return None
    if not isinstance(dataset.place, Disk) or not dataset.exists():
        return None
    rows, columns = _shape(dataset)
    size = Path(dataset._get_load_path()).stat().st_size
    return {"rows": rows, "columns": columns, "file_size": size}


def _shape(dataset: VersionedFile[Any]) -> tuple[int, int]:
    data = dataset.load()
    if hasattr(data, "to_arrow"):
        return data.to_arrow().shape
    return data.arrow().shape if hasattr(data, "arrow") else data.shape
