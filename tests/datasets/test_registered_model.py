"""A catalog entry registers what a node returns and loads what its alias points at."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from kedro.io import DataCatalog, DatasetError

from mmer.datasets.registered_model import RegisteredModel
from mmer.errors import InputError
from mmer.registry import servable


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], list[object]]:
    """A registry in memory: what has been registered under each name and alias."""
    models: dict[tuple[str, str], list[object]] = {}

    def register(model: object, name: str, alias: str) -> str:
        if model == "refused":
            raise InputError("mlflow", name, "a registry that takes the model", "none")
        models.setdefault((name, alias), []).append(model)
        return str(len(models[name, alias]))

    monkeypatch.setattr(servable, "register", register)
    monkeypatch.setattr(servable, "load", lambda name, alias: models[name, alias][-1])
    monkeypatch.setattr(servable, "exists", lambda name, alias: (name, alias) in models)
    return models


def test_saving_registers_and_loading_gives_the_latest(registry):
    catalog = DataCatalog.from_config(
        {
            "{corpus}.registered": {
                "type": "mmer.datasets.registered_model.RegisteredModel",
                "name": "mmer_{corpus}",
                "metadata": {"kedro-viz": {"layer": "models"}},
            }
        }
    )
    assert not catalog.exists("mosei.registered")
    catalog.save("mosei.registered", SimpleNamespace(digest="a"))
    catalog.save("mosei.registered", SimpleNamespace(digest="b"))
    assert catalog.exists("mosei.registered")
    assert catalog.load("mosei.registered").digest == "b"
    assert list(registry) == [("mmer_mosei", "candidate")]
    assert catalog.get("mosei.registered").metadata["kedro-viz"]["layer"] == "models"


def test_an_alias_of_ones_own(registry):
    RegisteredModel(name="mmer_mosei", alias="champion").save(SimpleNamespace())
    assert list(registry) == [("mmer_mosei", "champion")]


def test_environments_other_than_base_have_names_of_their_own(registry):
    for environment in ("base", "paper"):
        RegisteredModel(name="mmer_mosei", environment=environment).save(SimpleNamespace())
    assert list(registry) == [("mmer_mosei", "candidate"), ("mmer_mosei-paper", "candidate")]


def test_a_refusal_keeps_its_cause(registry):
    with pytest.raises(DatasetError, match="a registry that takes the model") as caught:
        RegisteredModel(name="mmer_mosei").save("refused")
    assert isinstance(caught.value.__cause__, InputError)


def test_describing_it_needs_neither_mlflow_nor_torch():
    script = (
        "import sys; from mmer.datasets.registered_model import RegisteredModel;"
        "print(RegisteredModel(name='mmer_mosei'));"
        "print([m for m in ('mlflow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    described, imported = done.stdout.splitlines()[-2:]
    assert "name='mmer_mosei', alias='candidate'" in described
    assert imported == "[]"
