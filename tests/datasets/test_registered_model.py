"""Catalog entries nominate what a node returns, load what is asked for, and move champions."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from kedro.io import DataCatalog, DatasetError

from mmer.datasets.registered_model import (
    ContendersForChampion,
    RegisteredModel,
    TableOfChampions,
)
from mmer.errors import InputError
from mmer.evaluation.champions import Move
from mmer.registry import champions, versions


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[object]]:
    """A registry in memory: what has been nominated under each name."""
    models: dict[str, list[object]] = {}

    def nominate(model: object, name: str) -> str:
        if model == "refused":
            raise InputError("mlflow", name, "a registry that takes the model", "none")
        models.setdefault(name, []).append(model)
        return str(len(models[name]))

    monkeypatch.setattr(versions, "nominate", nominate)
    monkeypatch.setattr(versions, "load", lambda name, which: (which, models[name][-1]))
    monkeypatch.setattr(versions, "exists", lambda name, which: name in models)
    return models


def test_saving_nominates_and_loading_gives_the_version_asked_for(registry):
    catalog = DataCatalog.from_config(
        {
            "{corpus}.registered": {
                "type": "mmer.datasets.registered_model.RegisteredModel",
                "name": "{corpus}",
                "which": "candidate",
                "metadata": {"kedro-viz": {"layer": "models"}},
            }
        }
    )
    assert not catalog.exists("mosei.registered")
    catalog.save("mosei.registered", SimpleNamespace(digest="a"))
    catalog.save("mosei.registered", SimpleNamespace(digest="b"))
    assert catalog.exists("mosei.registered")
    which, model = catalog.load("mosei.registered")
    assert (which, model.digest) == ("candidate", "b")
    assert list(registry) == ["mosei"]
    assert catalog.get("mosei.registered").metadata["kedro-viz"]["layer"] == "models"


def test_what_is_loaded_is_the_champion_if_nothing_else_is_said(registry):
    dataset = RegisteredModel(name="mosei")
    dataset.save(SimpleNamespace())
    assert dataset.load()[0] == "champion"


def test_environments_other_than_base_have_names_of_their_own(registry):
    for environment in ("base", "paper"):
        RegisteredModel(name="mosei", environment=environment).save(SimpleNamespace())
    assert list(registry) == ["mosei", "mosei-paper"]


def test_a_refusal_keeps_its_cause(registry):
    with pytest.raises(DatasetError, match="a registry that takes the model") as caught:
        RegisteredModel(name="mosei").save("refused")
    assert isinstance(caught.value.__cause__, InputError)


def test_a_decision_is_done_and_a_champion_taken_back_under_the_name_that_they_carry(monkeypatch):
    done: list[tuple[str, object]] = []
    monkeypatch.setattr(champions, "decided", lambda one: done.append(("decided", one)))
    monkeypatch.setattr(champions, "take_back", lambda one: done.append(("taken back", one)))
    monkeypatch.setattr(champions, "champions", lambda *asked: asked)
    table = TableOfChampions(name="mosei", environment="paper")
    move = Move(name="mosei", kind="taken back", number="1", before="2", after=2, told="")
    decision = SimpleNamespace()
    table.save(move)
    table.save(decision)
    assert done == [("taken back", move), ("decided", decision)]
    assert table.load() == ("mosei-paper", "")
    assert TableOfChampions(name="mosei", which=3).load() == ("mosei", "3")


def test_contenders_are_read_and_never_saved(monkeypatch):
    monkeypatch.setattr(champions, "contenders", lambda *asked: asked)
    assert ContendersForChampion(name="mosei").load() == ("mosei", "candidate")
    contenders = ContendersForChampion(name="mosei", which=3)
    assert contenders.load() == ("mosei", "3")
    with pytest.raises(DatasetError, match="not saved"):
        contenders.save("one")


def test_describing_it_needs_neither_mlflow_nor_torch():
    script = (
        "import sys; from mmer.datasets.registered_model import RegisteredModel;"
        "print(RegisteredModel(name='mosei'));"
        "print([m for m in ('mlflow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    described, imported = done.stdout.splitlines()[-2:]
    assert "name='mosei', which='champion'" in described
    assert imported == "[]"
