"""Versions are registered once and nominated if they are good enough; champions change in turn."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.models import Model

from mmer.errors import InputError
from mmer.evaluation.champions import TAKEN_BACK
from mmer.evaluation.promotion import Contenders, PromotionSettings, decide
from mmer.registry import champions, tracking, versions
from mmer.registry.servable import ServableModel
from mmer.systems.storage import save_fitted

SYNTHETIC = PromotionSettings(synthetic=True)


def save_lightly(servable: ServableModel, folder: Path, metadata: Model) -> None:
    """In place of the model's folder, which takes seconds to write, its two files that matter."""
    (folder / "code").mkdir(parents=True)
    save_fitted(servable.fitted, folder / "system.safetensors")
    metadata.save(folder / "MLmodel")


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "save", save_lightly)


@pytest.fixture
def client(project: Path) -> MlflowClient:
    return tracking.connect(tracking.tracking_uri(project))


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    found = client.get_registered_model(f"{name}-synthetic").aliases
    return {alias: str(number) for alias, number in found.items()}


def promote(name: str, nominee: versions.Nominee, settings=SYNTHETIC) -> Contenders:
    found = champions.contenders(name)
    champions.decided(decide(found, settings, nominee.evaluation))
    return found


@pytest.mark.usefixtures("light")
def test_a_nominee_is_one_version_that_says_whose_it_is(project, client, make_nominee, caplog):
    with pytest.raises(InputError, match=r"toy_one@candidate.*Train one first"):
        versions.find("toy_one", "candidate")
    assert not versions.exists("toy_one")
    first, second = make_nominee(0.3), make_nominee(0.8, 1)
    run = tracking.open_run(project, "training")
    assert versions.nominate(first, "toy_one") == "1"
    assert tracking.current_run() is run
    run.close("FINISHED")
    with caplog.at_level("INFO", logger="mmer"):
        assert [versions.nominate(one, "toy_one") for one in (second, first, second)] == list("212")
    assert sum("this very model" in message for message in caplog.messages) == 2
    assert versions.find("toy_one", "candidate") == ("toy_one-synthetic", "2")
    assert versions.find("toy_one", "1") == ("toy_one-synthetic", "1")
    found = client.get_model_version("toy_one-synthetic", "1")
    assert found.run_id == run.run_id
    assert found.tags["model"] == first.servable.fitted.digest
    assert (found.tags["corpus"], found.tags["synthetic"]) == ("toy", "true")
    shown = first.servable.assessment.intervals.metrics["micro_f1"].value
    assert float(found.tags["test.micro_f1"]) == shown
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    assert output.model_id in found.source
    of_its_own = client.get_run(client.get_model_version("toy_one-synthetic", "2").run_id)
    assert of_its_own.info.status == "FINISHED"


@pytest.mark.usefixtures("light")
def test_a_worse_model_is_registered_and_is_not_the_candidate(client, make_nominee, caplog):
    assert versions.nominate(make_nominee(0.8), "toy_worse") == "1"
    assert versions.nominate(make_nominee(0.3, 1), "toy_worse") == "2"
    assert "registered without becoming the candidate: version 1 is better (not worse" in (
        caplog.text
    )
    assert aliases(client, "toy_worse") == {"candidate": "1"}
    other = make_nominee(0.3, 2, fingerprint="other")
    assert versions.nominate(other, "toy_worse") == "3"
    assert "not compared with version 1: other test samples" in caplog.text
    assert aliases(client, "toy_worse") == {"candidate": "3"}


@pytest.mark.usefixtures("light")
def test_better_in_worse_refused_taken_back_and_all_of_it_in_the_table(client, make_nominee):
    first, better = make_nominee(0.3), make_nominee(0.8, 1)
    with pytest.raises(InputError, match="Train one first"):
        champions.contenders("toy_life")
    versions.nominate(first, "toy_life")
    promote("toy_life", first, PromotionSettings())
    assert aliases(client, "toy_life") == {"candidate": "1"}
    told = client.get_model_version("toy_life-synthetic", "1").tags["promotion"]
    assert told.startswith("version 1 refused over no champion; what does not hold: real rec")
    promote("toy_life", first)
    assert versions.find("toy_life") == ("toy_life-synthetic", "1")
    versions.nominate(better, "toy_life")
    assert promote("toy_life", better).evaluations == 2
    promote("toy_life", better)
    client.set_registered_model_alias("toy_life-synthetic", "candidate", "1")
    promote("toy_life", first)
    assert aliases(client, "toy_life") == {"candidate": "1", "champion": "2"}
    assert (
        "version 1 refused over version 2"
        in (client.get_model_version("toy_life-synthetic", "1").tags["promotion"])
    )
    client.set_registered_model_alias("toy_life-synthetic", "candidate", "2")
    champions.take_back(champions.champions("toy_life").back())
    assert aliases(client, "toy_life") == {"candidate": "1", "champion": "1"}
    table = champions.champions("toy_life")
    assert [(e.move.kind, e.move.number) for e in table.entries] == [
        ("promoted", "1"),
        ("promoted", "2"),
        (TAKEN_BACK, "1"),
    ]
    with pytest.raises(InputError, match="version 1 alone"):
        table.back()
    client.set_registered_model_alias("toy_life-synthetic", "champion", "2")
    promote("toy_life", first)
    assert aliases(client, "toy_life")["champion"] == "1"


@pytest.mark.slow
@pytest.mark.usefixtures("light")
def test_who_was_overtaken_changes_nothing(client, make_nominee):
    first, second, third = (make_nominee(q, i) for i, q in enumerate((0.2, 0.5, 0.9)))
    versions.nominate(first, "toy_late")
    promote("toy_late", first)
    versions.nominate(second, "toy_late")
    early = decide(champions.contenders("toy_late"), SYNTHETIC, second.evaluation)
    versions.nominate(third, "toy_late")
    promote("toy_late", third)
    table = champions.decided(early)
    assert (early.verdict, table.champion) == ("promoted", "3")
    assert aliases(client, "toy_late")["champion"] == "3"
    assert (
        client.get_model_version("toy_late-synthetic", "2")
        .tags["promotion"]
        .startswith("overtaken: version 3 became champion meanwhile")
    )
    back = table.back()
    champions.take_back(back)
    with pytest.raises(InputError, match="version 1 meanwhile"):
        champions.take_back(back)


@pytest.mark.parametrize(
    "where",
    [
        "evidence",
        pytest.param("model", marks=pytest.mark.slow),
        pytest.param("new file", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("light")
def test_files_that_are_not_what_was_registered_are_refused(project, client, make_nominee, where):
    name = f"toy_damaged_{where.replace(' ', '_')}"
    nominee = make_nominee(0.8)
    versions.nominate(nominee, name)
    found = client.get_model_version(f"{name}-synthetic", "1")
    model = Path(found.source.removeprefix("file://"))
    if where == "evidence":
        run = Path(client.get_run(found.run_id).info.artifact_uri.removeprefix("file://"))
        (damaged,) = run.glob("registered/*/robustness.json")
    else:
        damaged = model / ("MLmodel" if where == "model" else "code/extra.py")
    damaged.write_text((damaged.read_text() if damaged.exists() else "") + " ")
    decision = decide(champions.contenders(name), SYNTHETIC, nominee.evaluation)
    (refusal,) = decision.refusals
    assert refusal.rule == "files as they were registered"
    assert damaged.name in refusal.found
    assert versions.nominate(make_nominee(0.2, 1), name) == "2"
    assert aliases(client, name) == {"candidate": "2"}


def test_a_version_that_nobody_nominated_can_be_used_and_not_promoted(client, make_nominee):
    nominee = make_nominee(0.8)
    assert versions.register(nominee.servable, "toy_plain") == "1"
    assert aliases(client, "toy_plain") == {}
    assert versions.load("toy_plain", "1").metadata.metadata["corpus"] == "toy"
    client.set_registered_model_alias("toy_plain-synthetic", "candidate", "1")
    decision = decide(champions.contenders("toy_plain"), SYNTHETIC, nominee.evaluation)
    assert "nothing was kept with it" in decision.told


@pytest.mark.slow
@pytest.mark.usefixtures("light")
def test_the_real_model_goes_before_the_synthetic_one(make_nominee, client):
    real, synthetic = (make_nominee(0.5, 4, synthetic=flag) for flag in (False, True))
    versions.nominate(synthetic, "toy_both")
    assert versions.find("toy_both", "candidate") == ("toy_both-synthetic", "1")
    versions.nominate(real, "toy_both")
    assert versions.find("toy_both", "candidate") == ("toy_both", "1")
    decision = decide(champions.contenders("toy_both"), PromotionSettings(), synthetic.evaluation)
    assert decision.verdict == "promoted"
    champions.decided(decision)
    assert champions.champions("toy_both").champion == "1"
    assert aliases(client, "toy_both") == {"candidate": "1"}


def test_a_registry_that_refuses_is_one_clear_error_and_the_run_of_its_own_failed(
    project, client, make_nominee
):
    with pytest.raises(InputError, match=r"a registry that takes the model.*run the last node"):
        versions.nominate(make_nominee(), "not/a:name")
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    (last,) = client.search_runs([experiment], max_results=1)
    assert (last.info.run_name, last.info.status) == ("register not/a:name-synthetic", "FAILED")


def test_evidence_of_another_model_is_not_taken(make_nominee):
    one, other = make_nominee(0.5), make_nominee(0.5, 1)
    with pytest.raises(InputError, match="Score again"):
        versions.Nominee(one.servable, other.evidence, one.settings, one.evaluation)


@pytest.mark.slow
def test_at_a_server_it_is_the_same(mlflow_server, tmp_path, monkeypatch, make_nominee):
    monkeypatch.chdir(tmp_path)
    first, better = make_nominee(0.3), make_nominee(0.8, 1)
    for nominee in (first, better):
        versions.nominate(nominee, "toy_served")
        promote("toy_served", nominee)
    assert versions.find("toy_served") == ("toy_served-synthetic", "2")
    assert versions.load("toy_served").metadata.metadata["corpus"] == "toy"
    mlflow_server.kill()
    mlflow_server.start()
    champions.take_back(champions.champions("toy_served").back())
    assert versions.find("toy_served") == ("toy_served-synthetic", "1")
    mlflow_server.kill()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match="that answers"):
        versions.nominate(first, "toy_served")


def run_together(folder: Path, nominees: list, lock: str, turns: int) -> list[list]:
    """What two processes said that nominated and promoted at once, in turns."""
    (folder / "nominees").write_bytes(pickle.dumps(nominees))
    script = Path(__file__).with_name("two_at_once.py")
    both = [
        subprocess.Popen(
            [sys.executable, str(script), str(me), str(turns), str(folder), lock],
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in (0, 1)
    ]
    while not any(one.poll() for one in both) and any(one.poll() is None for one in both):
        time.sleep(0.1)
    for one in both:
        one.kill()  # it would wait for ever for one that has failed
    found = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    return [json.loads(one.splitlines()[-1]) for one in found]


def check_nothing_is_lost(said: list[list], client: MlflowClient, nominees: list) -> None:
    for turn, both in enumerate(zip(*said, strict=True)):
        name, numbers = f"toy_{turn}-synthetic", [each[0] for each in both]
        registered = client.search_model_versions(f"name = '{name}'")
        wanted = {nominees[k].servable.fitted.digest for k in (0, turn % 3, turn % 3 + 1)}
        assert sorted(one.tags["model"] for one in registered) == sorted(wanted)
        by_number = {str(one.version): one.tags["model"] for one in registered}
        for me, (mine, same) in enumerate(numbers):
            assert by_number[mine] == nominees[turn % 3 + me].servable.fitted.digest
            assert by_number[same] == nominees[0].servable.fitted.digest
        best = max(registered, key=lambda one: float(one.tags["test.micro_f1"]))
        assert aliases(client, f"toy_{turn}")["candidate"] == str(best.version)
        champion = aliases(client, f"toy_{turn}")["champion"]
        table = champions.champions(f"toy_{turn}")
        assert table.champion == champion
        places = [entry.move.after for entry in table.entries]
        assert len(set(places)) == len(places) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("lock", ["yes", "no"])
def test_two_trainings_and_promotions_at_once_twenty_times(
    tmp_path, monkeypatch, make_nominee, lock
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    client = tracking.connect(os.environ["MLFLOW_TRACKING_URI"])
    nominees = [make_nominee(q, seed) for seed, q in enumerate((0.4, 0.5, 0.8, 0.9))]
    said = run_together(tmp_path, nominees, lock, 20)
    check_nothing_is_lost(said, client, nominees)


@pytest.mark.slow
def test_two_at_once_through_a_server_without_a_lock(
    mlflow_server, tmp_path, monkeypatch, make_nominee
):
    monkeypatch.chdir(tmp_path)
    client = tracking.connect(os.environ["MLFLOW_TRACKING_URI"])
    nominees = [make_nominee(q, seed) for seed, q in enumerate((0.4, 0.5, 0.8, 0.9))]
    said = run_together(tmp_path, nominees, "no", 20)
    check_nothing_is_lost(said, client, nominees)
