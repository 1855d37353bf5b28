"""How large tables are, as Kedro-Viz is told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node

from mmer.datasets.files import FrameFile, TextFile
from mmer.hooks import TableStatistics

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})


@pytest.fixture
def known(tmp_path: Path):
    """What is known after a run that made the datasets of these names."""

    def after(*made: str) -> dict:
        datasets = {name: FrameFile(filepath=f"{tmp_path}/{name}.csv") for name in made}
        for dataset in datasets.values():
            dataset.save(FRAME)
        lost = FrameFile(filepath=f"{tmp_path}/lost.csv")
        text = TextFile(filepath=f"{tmp_path}/text.txt")
        text.save("no table")
        catalog = DataCatalog({**datasets, "lost": lost, "text": text})
        hook = TableStatistics()
        hook.after_context_created(SimpleNamespace(project_path=tmp_path))
        stats.unlink(missing_ok=True)  # as Kedro-Viz's own hook does
        nodes = [node(lambda: None, None, name, name=name) for name in (*made, "lost", "text")]
        hook.after_pipeline_run(Pipeline(nodes), catalog)
        return json.loads(stats.read_text())

    stats = tmp_path / ".viz" / "stats.json"
    return after


def test_tables_of_a_run_are_added_to_those_of_earlier_runs(known):
    size = len(FRAME.to_csv(index=False))
    assert known("one") == {"one": {"rows": 3, "columns": 2, "file_size": size}}
    assert set(known("two")) == {"one", "two"}


def test_a_file_that_says_nothing_readable_is_no_reason_to_fail(known, tmp_path):
    (tmp_path / ".viz").mkdir()
    (tmp_path / ".viz" / "stats.json").write_text("[")
    assert set(known("one")) == {"one"}
