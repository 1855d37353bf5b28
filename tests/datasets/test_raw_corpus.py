"""Raw files: a user's own where the catalog says so, else synthetic ones, written once."""

from __future__ import annotations

import json
import logging

import pytest
from kedro.io import DatasetError

from mmer.datasets.raw_corpus import RawFiles
from mmer.errors import InputError

SMALL = {"train_videos": 2, "valid_videos": 2, "test_videos": 2, "segments_per_video": 2}


def synthetic(folder, **settings) -> RawFiles:
    return RawFiles(
        synthetic={"corpus": "mosei", "folder": str(folder), "settings": SMALL | settings}
    )


def test_synthetic_files_are_written_once_and_called_so(tmp_path, caplog):
    first = synthetic(tmp_path).load()
    stamps = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    with caplog.at_level(logging.WARNING):
        second = synthetic(tmp_path).load()
    assert first == second
    assert first.synthetic
    assert {path: path.stat().st_mtime_ns for path in second.path.iterdir()} == stamps
    ceiling = json.loads((first.path / "synthetic.json").read_text())["ceiling"]
    assert f"{ceiling['micro_f1']:.3f}" in caplog.text


def test_other_settings_have_another_folder(tmp_path):
    paths = {synthetic(tmp_path, seed=seed).load().path for seed in (1, 2)}
    assert len(paths) == 2
    assert all((path / "synthetic.json").is_file() for path in paths)


def test_files_of_the_user_are_taken_as_they_are(tmp_path):
    raw = RawFiles(filepath=str(tmp_path), synthetic={"corpus": "mosei"}).load()
    assert raw.path == tmp_path
    assert not raw.synthetic


def test_absent_files_are_named_with_where_to_obtain_them(tmp_path):
    dataset = RawFiles(filepath=str(tmp_path / "nowhere"), obtain="Ask the authors.")
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, InputError)
    assert "nowhere" in str(caught.value.__cause__)
    assert "Ask the authors." in str(caught.value.__cause__)


@pytest.mark.parametrize("wrong", [None, {"corpus": "nosuch", "folder": "x"}, {}])
def test_neither_files_nor_a_generator_is_refused(wrong):
    with pytest.raises(InputError, match="a filepath, or"):
        RawFiles(synthetic=wrong)


def test_a_mistyped_setting_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sed"):
        synthetic(tmp_path, sed=1)


def test_raw_files_are_never_written_to(tmp_path):
    with pytest.raises(DatasetError, match="read only"):
        RawFiles(filepath=str(tmp_path)).save(3)
