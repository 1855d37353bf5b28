"""New files are scored as the server scores them, whatever their form, and put beside training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import DatasetError

from mmer.calibration.calibration import calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.corpora import CORPORA
from mmer.corpora.corpus import RawCorpus
from mmer.datasets.prediction import FilesToScore, PredictionsFile
from mmer.errors import InputError
from mmer.evaluation.drift import (
    Drift,
    PredictionStatistics,
    Reference,
    flags,
    modality_drift,
    reference,
)
from mmer.pipelines.prediction.nodes import measure_drift, predict_samples, render_drift
from mmer.predict import Model, champion
from mmer.registry.loading import RegisteredVersion
from mmer.registry.new_samples import NewFiles, NewSamples, opened, parts
from mmer.registry.predictor import Choice, Predictor, Requests
from mmer.registry.requests import check_info, requested_samples
from mmer.registry.table import answer_table
from mmer.samples.batches import pack
from mmer.samples.statistics import SampleStatistics, sample_statistics
from mmer.samples.streaming import in_parts
from mmer.samples.table import Sample, SampleTable, write_table
from mmer.systems import SYSTEMS
from mmer.systems.contract import scored

CORPUS = next(iter(CORPORA))
LABELS = ["happy", "sad", "anger"]

Tables = Callable[..., SampleTable]


@pytest.fixture
def version(toy_table: Tables) -> RegisteredVersion:
    """A registered version of a toy model, as it is fetched."""
    train, valid = toy_table(90, 1, "train"), toy_table(60, 2, "valid")
    system = SYSTEMS["linear"]
    settings = system.settings.model_validate(
        {"poolings": ["mean"], "penalties": [1.0], "folds": 2}
    )
    fitted = system.fit(pack(train), pack(valid), settings).fitted
    scores = scored(fitted, system.scorer(fitted, torch.device("cpu")), pack(valid))
    calibration = calibrate(scores, CalibrationSettings())
    made_with = reference(train, scores, calibration)
    return RegisteredVersion("toy-synthetic", "3", Predictor(fitted, calibration), made_with)


def as_parquet(table: SampleTable, path: Path, change: Callable | None = None) -> Path:
    """The features of a table in a Parquet file, in reverse order."""
    columns = ["sample_id", *table.info.modalities]
    frame = table.arrow().select(columns).to_pandas()[::-1].reset_index(drop=True)
    for modality in table.info.modalities:
        frame[modality] = [[step.tolist() for step in cell] for cell in frame[modality]]
    if change:
        change(frame)
    frame.to_parquet(path)
    return path


def opened_by(version: RegisteredVersion, folder: Path, *paths: Path) -> NewSamples:
    new = NewFiles(raw=tuple(RawCorpus(path=path) for path in paths))
    settings = CORPORA[CORPUS].ingestion
    return opened(new, version.predictor, CORPUS, settings(reader=settings().reader), folder)


def written(version: RegisteredVersion, new: NewSamples, folder: Path, **choice) -> pd.DataFrame:
    """Predictions through the file that the catalog keeps."""
    file = PredictionsFile(filepath=str(folder / "predictions.parquet"))
    file.save(predict_samples(version, new, Choice(**choice)))
    return pq.read_table(folder / "predictions.parquet").to_pandas()


def test_tables_parquet_and_requests_get_the_same_answers(version, toy_table, tmp_path):
    table = toy_table(150, 3, "test")
    parquet = as_parquet(table, tmp_path / "new.parquet")
    new = opened_by(version, tmp_path, table.path, parquet)
    assert [(file.kind, file.rows) for file in new.files] == [("table", 150), ("parquet", 150)]
    found = written(version, new, tmp_path, alpha=0.1)
    rows = table.arrow().to_pandas()
    model = version.predictor
    request = requested_samples(model, rows[list(table.info.modalities)])
    expected = answer_table(model, model.predict(request, Choice(alpha=0.1)))
    expected.index = rows["sample_id"]
    for path, group in found.groupby("file", observed=True):
        again = group.set_index("sample_id").loc[rows["sample_id"]]
        np.testing.assert_allclose(again[LABELS], expected[LABELS], rtol=0, atol=1e-6)
        for name in ("emotions", "set"):
            assert again[name].map(list).tolist() == expected[name].tolist(), path
    assert set(found["version"]) == {"toy-synthetic/3"}
    assert set(found["model"]) == {model.digest}
    assert found["refused"].isna().all()
    assert found["group_id"].notna().sum() == 150


def test_what_cannot_be_scored_is_a_row_that_says_why(version, toy_table, tmp_path):
    table = toy_table(70, 3, "test")
    modality, *others = table.info.modalities

    def change(frame: pd.DataFrame) -> None:
        frame.at[1, modality] = [[1.0, 2.0]]
        frame.at[66, others[0]] = None
        for name in table.info.modalities:
            frame.at[69, name] = None

    path = as_parquet(table, tmp_path / "new.parquet", change)
    found = written(version, opened_by(version, tmp_path, path), tmp_path)
    refused = found["refused"].dropna()
    assert list(refused.index)[0::2] == [1, 69]
    names = found["sample_id"]
    assert refused[1].startswith(f"sample {names[1]} [{modality}]: expected steps of 6 numbers")
    assert f"sample {names[66]} [{others[0]}]: expected steps of it" in refused[66]
    assert "at least one of" in refused[69]
    assert found.loc[refused.index, LABELS].isna().all(axis=None)
    assert found.drop(refused.index)[LABELS].notna().all(axis=None)
    drift = measure_drift(
        version,
        opened_by(version, tmp_path, path),
        PredictionsFile(filepath=str(tmp_path / "predictions.parquet")).load(),
    )
    assert (drift.samples, drift.refused) == (70, 3)
    assert "samples that could not be scored" in {flag.what for flag in drift.flags}


@pytest.mark.parametrize("unreadable", [30, 60])
def test_what_cannot_be_read_is_no_drift_of_features(version, toy_table, tmp_path, unreadable):
    table = toy_table(60, 3, "test")

    def change(frame: pd.DataFrame) -> None:
        for name in table.info.modalities:
            for row in range(unreadable):
                frame.at[row, name] = [[np.nan] * len(frame.at[row, name][0])]

    new = opened_by(version, tmp_path, as_parquet(table, tmp_path / "new.parquet", change))
    stream = predict_samples(version, new, Choice())
    if unreadable == 60:
        with pytest.raises(InputError, match="a sample that can be scored, found 60 that cannot"):
            measure_drift(version, new, stream)
        return
    drift = measure_drift(version, new, stream)
    assert (drift.samples, drift.refused, drift.features.samples) == (60, 30, 30)
    assert not [flag for flag in drift.flags if "without it" in flag.what]
    assert "30 could not be scored" in render_drift(drift)


def test_a_file_that_does_not_fit_the_model_is_refused(version, toy_table, tmp_path):
    table = toy_table(6, 3, "test")
    path = as_parquet(table, tmp_path / "new.parquet")
    frame = pd.read_parquet(path)
    name = table.info.modalities[1]
    frame.rename(columns={name: f"{name}s"}).to_parquet(path)
    with pytest.raises(InputError, match=rf"Did you mean {name}\?"):
        opened_by(version, tmp_path, path)
    frame[["sample_id"]].to_parquet(path)
    with pytest.raises(InputError, match="a column per modality"):
        opened_by(version, tmp_path, path)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="a Parquet file"):
        opened_by(version, tmp_path, path)
    wide = table.info.features[name].model_copy(update={"width": 9})
    info = table.info.model_copy(update={"features": {**table.info.features, name: wide}})
    rows = np.ones((2, 9), np.float32)
    sample = Sample("a", "a", {**dict.fromkeys(info.modalities), name: rows}, np.ones(3))
    with pytest.raises(InputError, match="feature widths"):
        opened_by(version, tmp_path, write_table(tmp_path / "wide.arrow", info, [sample]).path)


def test_a_table_made_in_another_way_than_training_is_refused(version, toy_table, tmp_path):
    table = toy_table(6, 3, "test")
    info, name = table.info, table.info.modalities[1]
    other = info.features[name].model_copy(update={"name": "another extractor"})
    known = Requests(alignment=info.alignment)
    version.predictor.requests = known
    assert opened_by(version, tmp_path, table.path).rows == 6
    others = next(a for a in ("word", "none") if a != info.alignment)
    samples = pack(table)
    for change, key in (
        ({"features": {**info.features, name: other}}, f"features of {name}"),
        ({"features": dict(reversed(info.features.items()))}, "order of modalities"),
        ({"alignment": others}, "alignment"),
        ({"zeros_are_absent": not info.zeros_are_absent}, "zeros_are_absent"),
    ):
        wrong = replace(samples, info=info.model_copy(update=change))
        with pytest.raises(InputError, match=rf"samples \[{key}\].*as in training"):
            Model(version).predict(wrong)
        with pytest.raises(InputError, match=rf"\[{key}\]"):
            check_info(version.predictor, wrong.info, "table")
    made_by = {"reader": "official", "unit": "one"}
    version.predictor.requests = known.model_copy(update={"reading": made_by})
    for reading, key in (
        (made_by, None),
        ({}, None),  # nobody's reader made them
        ({**made_by, "unit": "another"}, "reading.unit"),
        ({**made_by, "more": True}, "reading.more"),
        ({"reader": "another"}, "reading.reader"),
    ):
        told = info.model_copy(update={"reading": reading})
        if key is None:
            check_info(version.predictor, told, "table")
            continue
        with pytest.raises(InputError, match=rf"table \[{key}\].*as in training"):
            check_info(version.predictor, told, "table")
    version.predictor.requests = known
    sample = Sample("a", "a", {m: np.ones((2, w)) for m, w in info.widths.items()}, np.ones(3))
    unaligned = info.model_copy(update={"alignment": others})
    path = write_table(tmp_path / "unaligned.arrow", unaligned, [sample]).path
    with pytest.raises(InputError, match=r"unaligned.arrow \[alignment\]"):
        opened_by(version, tmp_path, path)


def test_samples_in_memory_are_refused_as_those_of_a_request(version, toy_table):
    model, samples = Model(version), pack(toy_table(6, 3, "test"))
    lacking = samples.without(samples.modalities[0])
    with pytest.raises(InputError, match=rf"\[{samples.modalities[0]}\]: expected steps of it"):
        model.predict(lacking)
    with pytest.raises(InputError, match=r"params \[aplha\].*Did you mean alpha\?"):
        model.predict(samples, aplha=0.1)


def test_samples_that_are_left_out_do_not_count_in_those_beside_them(version, toy_table):
    """A sample that is refused has steps in other modalities."""
    samples = pack(toy_table(12, 3, "test"))
    whole = version.predictor.scores(samples)
    for index in (np.arange(0, 12, 2), np.arange(12)[::-1].copy()):
        np.testing.assert_allclose(version.predictor.scores(samples.take(index)), whole[index])


def test_names_in_parquet_are_any_numbers_or_texts_but_each_once(version, toy_table, tmp_path):
    table = toy_table(6, 3, "test")
    path = as_parquet(table, tmp_path / "new.parquet")
    frame = pd.read_parquet(path)
    frame.assign(sample_id=range(6), group_id=[1, 1, 2, 2, 3, 3]).to_parquet(path)
    found = written(version, opened_by(version, tmp_path, path), tmp_path)
    assert found["sample_id"].tolist() == list("012345")
    assert found["group_id"].tolist() == list("112233")
    for names, message in (
        (["a", "b", None, "d", "e", "f"], r"\[sample_id\]: .* found none in row 2"),
        (["a", "b", "c", "d", "b", "f"], r"\[sample_id\]: .* found b again"),
    ):
        frame.assign(sample_id=names).to_parquet(path)
        with pytest.raises(InputError, match=message):
            opened_by(version, tmp_path, path)


@pytest.mark.slow
def test_official_files_that_cannot_be_read_are_refused_with_another_way(version, tmp_path):
    (tmp_path / "official.csd").write_bytes(b"none")
    with pytest.raises(InputError, match="Without labels or splits: give a sample table"):
        opened_by(version, tmp_path, tmp_path / "official.csd")


def test_files_are_named_by_path_pattern_or_several(tmp_path):
    for name in ("a.parquet", "b.parquet"):
        (tmp_path / name).write_bytes(b"")
    pattern = FilesToScore(corpus=CORPUS, files=f"{tmp_path}/*.parquet").load()
    both = FilesToScore(corpus=CORPUS, files=f"{tmp_path}/a.parquet:{tmp_path}/b.parquet").load()
    assert [raw.path.name for raw in pattern.raw] == ["a.parquet", "b.parquet"]
    assert both == pattern
    for files, message in ((None, "--params=files=PATH"), (f"{tmp_path}/*.csd", "none")):
        with pytest.raises(DatasetError, match=message):
            FilesToScore(corpus=CORPUS, files=files).load()


def test_statistics_of_parts_are_those_of_the_whole(toy_table):
    table = toy_table(100, 3, "test")
    whole = sample_statistics([pack(table)])
    streamed = sample_statistics(samples for _, samples in in_parts(table, 7))
    for modality, one in whole.modalities.items():
        part, values = streamed.modalities[modality], pack(table).values[modality].numpy()
        assert (one.lengths, one.present) == (part.lengths, part.present)
        np.testing.assert_allclose(one.mean, values.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(one.deviation, values.std(axis=0), atol=1e-5)
        np.testing.assert_allclose(part.mean, one.mean, atol=1e-9)
    taken = sample_statistics([pack(table).take(np.arange(50))])
    assert taken.modalities[modality].steps == sum(pack(table).host_lengths[modality][:50])


def drift_of(version: RegisteredVersion, table: SampleTable, folder: Path) -> Drift:
    new = opened_by(version, folder, table.path)
    return measure_drift(version, new, predict_samples(version, new, Choice()))


def test_drift_is_flagged_where_samples_differ_and_not_where_they_do_not(
    version, toy_table, toy_samples, toy_info, tmp_path
):
    same = drift_of(version, toy_table(200, 5, "test"), tmp_path)
    assert same.flags == ()
    assert "Nothing in 200 new samples differs" in render_drift(same)
    modality = toy_info.modalities[1]
    moved = []
    for sample in toy_samples(200, 5):
        shifted = sample.features[modality] * 3 + 2
        twice = np.concatenate([shifted, shifted, shifted])
        moved.append(replace(sample, features={**sample.features, modality: twice}))
    info = toy_info.model_copy(update={"split": "test"})
    drift = drift_of(version, write_table(tmp_path / "moved.arrow", info, moved), tmp_path)
    told = {flag.what for flag in drift.flags}
    for what in ("shift of feature means", "spread of features", "distance of lengths"):
        assert f"{modality}: {what}" in told
    other = toy_info.modalities[0]
    assert not [what for what in told if what.startswith(f"{other}:")]
    page = render_drift(drift)
    assert "What deserves a look" in page
    assert "SYNTHETIC" in page
    without = replace(version, reference=None)
    with pytest.raises(InputError, match="register it again"):
        drift_of(without, toy_table(20, 5, "test"), tmp_path)


def test_features_that_wake_or_fall_still_are_counted_and_flagged(toy_table):
    """Those that never varied in training have no deviation that a shift could be told in."""
    samples = pack(toy_table(60, 3, "test"))
    name = samples.modalities[0]

    def with_feature(number: int, value: float, times: int = 1) -> SampleStatistics:
        values = samples.values[name].clone()
        values[:, number] = value
        changed = replace(samples, values={**samples.values, name: values})
        return sample_statistics([changed] * times)

    whole, at_one, at_two = sample_statistics([samples]), with_feature(1, 1e3), with_feature(1, 2e3)
    for value in (0.1, 0.3, 7.7, 123.4, 1000.1):  # of which sums of many steps are rounded
        for times in (7, 50):
            assert with_feature(1, value, times).modalities[name].deviation[1] == 0
    said = PredictionStatistics(
        samples=60, label_rates=(0.5,), mean_probabilities=(0.5,), confident=0.5
    )
    for before, now, counts in (
        (whole, at_one, (0, 1)),
        (at_one, whole, (1, 0)),
        (at_one, at_two, (1, 0)),
        (at_one, at_one, (0, 0)),
        (whole, whole, (0, 0)),
    ):
        drift = modality_drift(before, now, name)
        assert (drift.woken, drift.stilled) == counts
        made_with = Reference(model="m", labels=("a",), features=before, predictions=said)
        told = [f.what for f in flags([drift], made_with, said, 60) if "constant" in f.what]
        assert len(told) == sum(counts)
        assert all(what.startswith(f"{name}: features that") for what in told)


def test_the_python_call_predicts_and_explains(version, toy_table):
    model, table = Model(version), toy_table(12, 3, "test")
    whole = model.predict(table, alpha=0.1)
    assert list(whole.index) == table.arrow()["sample_id"].to_pylist()
    rows = table.arrow().select(list(table.info.modalities)).to_pandas()
    np.testing.assert_allclose(model.predict(rows)[LABELS], whole[LABELS], rtol=0, atol=1e-6)
    less = model.without_steps(table, 5, [0])
    assert list(less.index) == ["whole", "without"]
    np.testing.assert_allclose(
        less.iloc[0][LABELS].astype(float), whole.iloc[5][LABELS].astype(float)
    )
    assert model.attention(table, 5) == {}


@pytest.mark.slow
def test_a_run_scores_official_files_tables_and_parquet_as_the_registry_does(run, saved, project):
    """Through Kedro: the champion is missing, another version is named, and all forms agree."""
    table = SampleTable(next(project.glob(f"data/03_primary/test/{CORPUS}/test.arrow")))
    with pytest.raises(DatasetError, match=r"promote one first.*version=candidate"):
        run(f"predict_{CORPUS}", params={"files": str(table.path)})
    parquet = as_parquet(table, project / "new.parquet")
    raw = next(project.glob("data/01_raw/tiny_*/*"))
    files = ":".join(map(str, (table.path, parquet, raw)))
    run(f"predict_{CORPUS}", params={"files": files, "version": "candidate"})
    found = pq.read_table(saved("test", CORPUS, "predictions.parquet")[-1]).to_pandas()
    model = champion(f"{CORPUS}-test", "candidate")
    expected = model.predict(table)
    labels = list(model.labels)
    for path in (table.path, parquet, raw):
        rows = found[found["file"] == str(path)].set_index("sample_id").loc[expected.index]
        np.testing.assert_allclose(rows[labels], expected[labels], rtol=0, atol=1e-6)
        assert rows["emotions"].map(list).tolist() == expected["emotions"].tolist()
    drift = Drift.read(saved("test", CORPUS, "prediction/drift.json")[-1])
    assert drift.samples == len(found)
    looks = model.attention(table, 0)
    assert all(np.allclose(weights.sum(), 1, atol=1e-5) for weights in looks.values())


def test_predictions_at_an_address_are_read_while_they_are_used(
    version, toy_table, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    new = opened_by(version, tmp_path, toy_table(70, 3, "test").path)
    file = PredictionsFile(filepath="memory://results/predictions.parquet")
    file.save(predict_samples(version, new, Choice()))
    found = file.load()
    assert sum(batch.num_rows for batch in found.batches()) == found.rows == 70


def test_parts_are_small(version, toy_table, tmp_path):
    """What is in memory at a time does not grow with the file."""
    new = opened_by(version, tmp_path, toy_table(300, 3, "test").path)
    assert max(len(part.samples) for part in parts(new, version.predictor)) <= 64
