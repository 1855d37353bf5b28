"""The notebooks run from top to bottom on what a run has left behind."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
_SLOW = {"predict"}  # it fetches a model, and a second kernel takes its time


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in _SLOW else [])
        for path in NOTEBOOKS
    ],
)
def test_a_notebook_runs(path, project, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "test")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(project)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any(output.output_type == "execute_result" for output in outputs)
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)
