"""A model's life in one project: trained, promoted, surpassed, refused, taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from mlflow import MlflowClient

from mmer.errors import InputError
from mmer.evaluation.promotion import Decision

NAME = "mosei-test-synthetic"
BETTER = {"network": {"step_width": 32}, "training": {"epochs": 25, "modality_dropout": 0.2}}
WORSE = {"penalties": [1000.0]}
# The better network gives up a label that few samples have.
RULE = {"synthetic": True, "label_margin": 0.5}


def aliases(client: MlflowClient) -> dict[str, str]:
    found = client.get_registered_model(NAME).aliases
    return {alias: str(number) for alias, number in found.items()}


def last(project: Path, name: str) -> Path:
    return sorted(project.glob(f"data/08_reporting/test/mosei/promotion/{name}/*/{name}"))[-1]


@pytest.fixture
def corpus_with_something_to_learn(new_project: Callable[[], Path], monkeypatch) -> Path:
    folder = new_project()
    catalog = folder / "conf" / "test" / "catalog.yml"
    text = catalog.read_text()
    for split, few, more in (("train", 12, 60), ("valid", 8, 30), ("test", 8, 40)):
        assert f"{split}_videos: {few}\n" in text
        text = text.replace(f"{split}_videos: {few}\n", f"{split}_videos: {more}\n", 1)
    catalog.write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.mark.slow
def test_the_whole_life(corpus_with_something_to_learn, run_in, caplog):
    project = corpus_with_something_to_learn

    def run(pipeline: str, **params: dict) -> None:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="mmer"):
            run_in(project, pipeline, params={"mosei": params})

    def promote(**rule: object) -> Decision:
        run("promote_mosei", promotion=rule)
        return Decision.read(last(project, "decision.json"))

    with pytest.raises((InputError, DatasetError), match="Train one first"):
        promote()
    run("train_mosei_linear")
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    assert aliases(client) == {"candidate": "1"}

    assert [one.rule for one in promote().refusals] == ["real recordings"]
    assert aliases(client) == {"candidate": "1"}
    assert promote(**RULE).verdict == "promoted"
    assert aliases(client) == {"candidate": "1", "champion": "1"}
    assert promote(**RULE).verdict == "unchanged"
    assert "version 1 is champion already" in caplog.text

    run("train_mosei_pooled", pooled=BETTER)
    assert "registered without becoming the candidate: version 1 is better (no label" in caplog.text
    run("train_mosei_pooled", pooled=BETTER, promotion=RULE)
    better = promote(**RULE)
    assert (better.verdict, better.evaluations) == ("promoted", 2)
    assert better.differences.metrics["micro_f1"].low > 0
    assert aliases(client) == {"candidate": "2", "champion": "2"}

    run("train_mosei_linear", linear=WORSE, promotion=RULE)
    assert "registered without becoming the candidate: version 2 is better" in caplog.text
    assert aliases(client) == {"candidate": "2", "champion": "2"}
    client.set_registered_model_alias(NAME, "candidate", "3")
    worse = promote(**RULE)
    assert worse.verdict == "refused"
    assert "better than the champion, or the constant systems (over version 2): -" in worse.told
    assert aliases(client)["champion"] == "2"
    assert client.get_model_version(NAME, "3").tags["promotion"] == worse.told
    page = last(project, "report.html").read_text()
    assert "Version 3 of mosei-test-synthetic: refused" in page
    assert "SYNTHETIC" in page

    run("rollback_mosei")
    assert aliases(client)["champion"] == "1"
    history = pd.read_csv(last(project, "champions.csv"))
    assert history["version"].tolist() == [1, 2, 1]
    assert history["what"].tolist() == ["promoted", "promoted", "taken back"]
    assert "now version 1" in caplog.text
    with pytest.raises(InputError, match="a champion to return to"):
        run("rollback_mosei")
    client.set_registered_model_alias(NAME, "candidate", "2")
    assert [one.rule for one in promote(**RULE).refusals] == ["not taken back before"]
