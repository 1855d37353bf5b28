"""Files of one object each: what is saved is loaded again, whole or not at all, by version."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import yaml
from kedro.io import DatasetError, Version
from kedro.utils import load_obj

from mmer.datasets.files import (
    FigureFile,
    FittedSystemFile,
    FrameFile,
    RecordFile,
    ScoresTable,
    TextFile,
    VersionedFile,
)
from mmer.metrics.scores import Scores
from mmer.reporting.previews import preview
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.systems.constant.system import LabelPrior
from mmer.training.history import Epoch, History

HISTORY = History(
    epochs=(Epoch(epoch=1, losses={"total": 0.5}, validation={}, selection=0.1, seconds=1.0),),
    kept=1,
)
FRAME = pd.DataFrame({"system": ["Toy", "Über"], "micro_f1": [0.5, None]})
FIGURE = go.Figure(go.Bar(x=["happy"], y=[3]), layout={"title": {"text": "Labels"}})


def record_file(**options: Any) -> RecordFile:
    return RecordFile(record="mmer.training.history.History", **options)


@pytest.mark.parametrize(
    ("kind", "data", "plain"),
    [
        (record_file, HISTORY, lambda history: history),
        (FigureFile, FIGURE, lambda figure: figure.to_dict()),
        (FrameFile, FRAME, lambda frame: json.loads(frame.to_json())),
        (TextFile, "<p>Über</p>\n", lambda text: text),
    ],
    ids=["record", "figure", "frame", "text"],
)
def test_what_is_saved_is_loaded_again(kind, data, plain, tmp_path):
    dataset = kind(filepath=str(tmp_path / "deep" / "file"))
    assert not dataset.exists()
    dataset.save(data)
    assert dataset.exists()
    assert plain(dataset.load()) == plain(data)


def test_scores_keep_their_numbers_and_their_origin(tmp_path, toy_scores: Callable[..., Scores]):
    dataset = ScoresTable(filepath=str(tmp_path / "scores.parquet"))
    scores = toy_scores(np.random.default_rng(0).random((6, 2)), np.eye(6, 2))
    dataset.save(scores)
    loaded = dataset.load()
    assert loaded.info == scores.info
    np.testing.assert_array_equal(loaded.scores, scores.scores)
    np.testing.assert_array_equal(loaded.truth, scores.truth)


def test_a_fitted_system_keeps_its_digest(tmp_path, toy_table: Callable[..., SampleTable]):
    splits = [pack(toy_table(6, split=split)) for split in ("train", "valid")]
    fitted = LabelPrior().fit(*splits, LabelPrior.settings()).fitted
    dataset = FittedSystemFile(filepath=str(tmp_path / "model.safetensors"))
    dataset.save(fitted)
    assert dataset.load().digest == fitted.digest
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]


def test_kedro_viz_gets_previews(tmp_path):
    expected = {
        record_file: HISTORY.to_json(),
        FigureFile: preview(FIGURE),
        FrameFile: json.loads(FRAME.to_json(orient="split")),
    }
    for (kind, shown), data in zip(expected.items(), (HISTORY, FIGURE, FRAME), strict=True):
        dataset = kind(filepath=str(tmp_path / f"{kind.__name__}"))
        dataset.save(data)
        assert dataset.preview() == shown


class Failing(TextFile):
    """Writes half of a text."""

    def write(self, path: Path, data: str) -> None:
        super().write(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")


def versioned(kind: type[VersionedFile], folder: Path, version: str | None) -> VersionedFile:
    return kind(filepath=str(folder / "text.txt"), version=Version(None, version))


def test_a_writer_that_fails_leaves_no_version_and_the_last_one_stands(tmp_path):
    with pytest.raises(DatasetError, match="No space left"):
        versioned(Failing, tmp_path, "1").save("first")
    assert not versioned(TextFile, tmp_path, None).exists()
    versioned(TextFile, tmp_path, "2").save("second")
    with pytest.raises(DatasetError, match="No space left"):
        versioned(Failing, tmp_path, "3").save("third")
    assert versioned(TextFile, tmp_path, None).exists()
    assert versioned(TextFile, tmp_path, None).load() == "second"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["text.txt"]


def test_versions_lie_side_by_side(tmp_path):
    for version in ("1", "2"):
        versioned(TextFile, tmp_path, version).save(f"text {version}")
    assert versioned(TextFile, tmp_path, None).load() == "text 2"
    first = TextFile(filepath=str(tmp_path / "text.txt"), version=Version("1", None))
    assert first.load() == "text 1"


def test_a_record_of_another_kind_is_refused_by_file_and_field(tmp_path):
    (tmp_path / "history.json").write_text('{"epochs": [], "kept": "all"}')
    with pytest.raises(DatasetError, match=r"history.json \[.*kept\].*a record of History"):
        record_file(filepath=str(tmp_path / "history.json")).load()


def test_what_a_killed_run_left_among_the_versions_is_swept(tmp_path):
    left = tmp_path / "text.txt" / "1" / ".text.txt.of-a-killed-run.partial"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    os.utime(left, (0, 0))
    versioned(TextFile, tmp_path, "2").save("whole")
    assert not left.exists()
    assert versioned(TextFile, tmp_path, None).load() == "whole"


def test_every_file_that_the_catalogs_name_is_written_by_these_datasets():
    conf = Path(__file__).resolve().parents[2] / "conf"
    entries = [
        entry
        for catalog in conf.rglob("catalog*.yml")
        for entry in yaml.safe_load(catalog.read_text()).values()
        if "filepath" in entry
    ]
    of_the_user_or_a_workspace = (".RawFiles", ".Folder")
    written = {e["type"] for e in entries if not e["type"].endswith(of_the_user_or_a_workspace)}
    assert len(written) > 5
    assert all(issubclass(load_obj(name), VersionedFile) for name in written)
