"""Every reader and every environment of official files, tiny, through Kedro."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mmer.corpora import CORPORA
from mmer.errors import InputError
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import look_alikes

ALONE = [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("memor") else [])
    for name, one in CORPORA.items()
    if not one.family
]

# The environments of official files have the papers' sizes: this makes them tiny.
NETWORK = {
    "hidden": 16,
    "latent": 8,
    "heads": 2,
    "feed_forward": 16,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 64,
}
SHORT = {"pseudo_aligned_length": 5, "max_length": 60}
TINY = {"network": NETWORK, "training": {"epochs": 1, "batch_size": 2}}


def official_files(corpus: str, reader: str, folder: Path) -> Path:
    """A few samples in the layout of one of the corpus's official releases."""
    folder.mkdir()
    name = corpus.split("_")[0]
    look_alikes.FOLDERS[name, reader](folder, np.random.default_rng(1))
    return folder


@pytest.mark.parametrize("corpus", ALONE)
@pytest.mark.parametrize("env", ["paper", pytest.param("reproduction", marks=pytest.mark.slow)])
def test_the_environments_of_official_files_run(
    project, run, tmp_path, env, corpus, saved, file_parameter
):
    chosen = {"mosei": "tailor_pt", "mosei_unaligned": "noalign_pkl"}
    reader = CORPORA[corpus].ingestion().reader
    reader = chosen.get(corpus, reader) if env == "reproduction" else reader
    if reader == "csd":
        (files,) = (project / "data/01_raw/tiny_mosei").iterdir()
    else:
        files = official_files(corpus, reader, tmp_path / "files")
        if corpus == "m3ed":
            (files,) = files.iterdir()  # in a folder the environment chooses a file by its name
    unaligned = SHORT if corpus == "mosei_unaligned" else {}
    if unaligned and env == "reproduction":
        unaligned = {**SHORT, "reference_lengths": {"text": 10, "visual": 12, "audio": 12}}
    settings = {
        next(iter(SYSTEMS)): {**TINY, "network": {**NETWORK, **unaligned}},
        "pooled": {"training": {"epochs": 1}},
        "evaluation": {"resamples": 200},
        "ingestion": {reader: {"folds": "folds.json"}} if reader == "csd" else {},
    }
    if reader in ("tailor_pt", "noalign_pkl"):
        settings["ingestion"] = {reader: {"widths": look_alikes.WIDTHS}}
    run(f"train_{corpus}", env=env, params={file_parameter[corpus]: str(files), corpus: settings})
    (model,) = saved(env, corpus, f"{next(iter(SYSTEMS))}/model.safetensors")
    network = load_fitted(model).info.settings["network"]
    assert network["reference"] is (env == "reproduction")
    page = saved(env, corpus, f"{next(iter(SYSTEMS))}/report.html")[-1].read_text()
    assert ("groups unknown" in page) is (reader == "tailor_pt")


def test_a_label_that_no_training_sample_has_stops_the_run_before_training(
    fresh, run_in, monkeypatch
):
    monkeypatch.chdir(fresh)
    ingestion = {"csd": {"emotion_threshold": 2.99}}
    with pytest.raises(InputError, match=r"no sample with .*mosei\.ingestion\.constant_labels"):
        run_in(fresh, "train_mosei", params={"mosei": {"ingestion": ingestion}})
    assert not list(fresh.glob("data/06_models/**/model.safetensors"))
    allowed = {**ingestion, "constant_labels": list(look_alikes.EMOTIONS)}
    params = {"mosei": {"ingestion": allowed}}
    run_in(fresh, "train_mosei", params=params, tags=["ingestion", "alignment"])


@pytest.mark.parametrize(
    ("corpus", "reader"), [key for key in look_alikes.FOLDERS if not CORPORA[key[0]].family]
)
def test_every_reader_can_be_chosen(
    fresh, run_in, monkeypatch, tmp_path, corpus, reader, file_parameter
):
    """Whatever the parameter files say of the reader that they choose."""
    files = official_files(corpus, reader, tmp_path / "files")
    options = look_alikes.options(corpus, reader).model_dump(mode="json", exclude_unset=True)
    ingestion = {"reader": reader, reader: options}
    monkeypatch.chdir(fresh)
    run_in(
        fresh,
        f"train_{corpus}",
        params={file_parameter[corpus]: str(files), corpus: {"ingestion": ingestion}},
        tags=["ingestion", "alignment"],
    )
    table = SampleTable(fresh / f"data/03_primary/test/{corpus}/train.arrow")
    assert len(table) > 0
    assert not table.info.synthetic
