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
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE

from mmer.errors import InputError
from mmer.evaluation.champions import TAKEN_BACK
from mmer.evaluation.promotion import Contenders, PromotionSettings, decide
from mmer.registry import champions, tracking, versions
from mmer.registry.loading import load_version
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
    assert champions.take_back(back).champion == "1"
    versions.nominate(make_nominee(0.95, 3), "toy_late")
    promote("toy_late", third)
    with pytest.raises(InputError, match="version 4 meanwhile"):
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
    assert versions.nominate(nominee, name) == "3", "the damaged one is not taken for it"
    assert aliases(client, name) == {"candidate": "3"}
    assert champions.contenders(name).evaluations == 2


@pytest.mark.usefixtures("light")
def test_the_count_of_evaluations_outlives_what_is_deleted_and_how_features_are_read(
    client, make_nominee
):
    for number in range(3):
        versions.nominate(make_nominee(0.2 + number / 5, number), "toy_counted")
    assert champions.contenders("toy_counted").evaluations == 3
    client.delete_model_version("toy_counted-synthetic", "1")
    client.delete_model_version("toy_counted-synthetic", "2")
    assert champions.contenders("toy_counted").evaluations == 3
    versions.nominate(make_nominee(0.9, 3, fingerprint="read otherwise"), "toy_counted")
    assert champions.contenders("toy_counted").evaluations == 4


def three_champions(client: MlflowClient, make_nominee, name: str) -> None:
    for seed, quality in enumerate((0.2, 0.5, 0.9)):
        nominee = make_nominee(quality, seed)
        versions.nominate(nominee, name)
        promote(name, nominee)
    assert aliases(client, name) == {"candidate": "3", "champion": "3"}


@pytest.mark.usefixtures("light")
def test_a_rollback_that_was_cut_off_is_finished_and_goes_no_further(
    client, make_nominee, monkeypatch, caplog
):
    three_champions(client, make_nominee, "toy_cut")
    for expected in ("2", "1"):
        with monkeypatch.context() as cut:
            cut.setattr(champions, "_settle", lambda *_: pytest.fail("killed"))
            with pytest.raises(pytest.fail.Exception):
                champions.take_back(champions.champions("toy_cut").back())
        assert aliases(client, "toy_cut")["champion"] != expected
        champions.take_back(champions.champions("toy_cut").back())
        assert "decided before and is carried out now. To go further back" in caplog.text
        assert aliases(client, "toy_cut") == {"candidate": expected, "champion": expected}


@pytest.mark.slow
@pytest.mark.usefixtures("light")
def test_a_rollback_whose_answer_was_lost_is_one_rollback(client, make_nominee, monkeypatch):
    three_champions(client, make_nominee, "toy_twice")
    write, lost = MlflowClient.create_model_version, []

    def lossy(*args, **options):
        made = write(*args, **options)
        if not lost:
            lost.append(made)
            raise MlflowException("gateway", error_code=INTERNAL_ERROR)
        return made

    monkeypatch.setattr(MlflowClient, "create_model_version", lossy)
    champions.take_back(champions.champions("toy_twice").back())
    assert lost
    assert aliases(client, "toy_twice") == {"candidate": "2", "champion": "2"}


@pytest.mark.slow
@pytest.mark.usefixtures("light")
def test_a_deleted_champion_is_said_and_a_deleted_predecessor_skipped(client, make_nominee, caplog):
    three_champions(client, make_nominee, "toy_gone")
    client.delete_model_version("toy_gone-synthetic", "2")
    client.delete_model_version("toy_gone-synthetic", "3")
    nominee = make_nominee(0.95, 4)
    versions.nominate(nominee, "toy_gone")
    assert promote("toy_gone", nominee).champion.damage.endswith("found that it was deleted.")
    assert "version 3, was deleted, and none takes its place" in caplog.text
    back = champions.champions("toy_gone").back()
    table = champions.take_back(back)
    assert (table.champion, table.standing) == ("1", ("1",))
    assert table.entries[-1].move.told.endswith("gone or damaged, and skipped: 2")
    assert aliases(client, "toy_gone") == {"candidate": "4", "champion": "1"}
    with pytest.raises(InputError, match="version 1 alone"):
        table.back()


@pytest.mark.usefixtures("light")
def test_a_candidate_that_was_turned_down_gives_way_to_what_may_be_promoted(client, make_nominee):
    first = make_nominee(0.3, hidden=0.2)
    versions.nominate(first, "toy_wall")
    promote("toy_wall", first)
    lenient = PromotionSettings(absent_margin=1)
    fragile = make_nominee(0.9, 1, hidden=0.0, settings=lenient)
    versions.nominate(fragile, "toy_wall")
    promote("toy_wall", fragile)
    versions.nominate(make_nominee(0.1, 2), "toy_wall")
    assert aliases(client, "toy_wall") == {"candidate": "2", "champion": "1"}
    good = make_nominee(0.6, 3, hidden=0.4)
    versions.nominate(good, "toy_wall")
    assert aliases(client, "toy_wall") == {"candidate": "4", "champion": "1"}
    versions.nominate(fragile, "toy_wall")
    assert aliases(client, "toy_wall")["candidate"] == "4"
    promote("toy_wall", good)
    champions.take_back(champions.champions("toy_wall").back())
    versions.nominate(good, "toy_wall")
    assert aliases(client, "toy_wall") == {"candidate": "1", "champion": "1"}
    assert champions.contenders("toy_wall", "3").candidate.version.number == "3"


@pytest.mark.usefixtures("light")
def test_a_synthetic_model_answers_only_where_there_is_no_real_one_and_says_so(
    client, make_nominee, monkeypatch, caplog
):
    for seed in (1, 2):
        versions.nominate(make_nominee(seed / 3, seed), "toy_apart")
    assert versions.find("toy_apart", "2") == ("toy_apart-synthetic", "2")
    assert "toy_apart-synthetic answers, which is synthetic" in caplog.text
    versions.nominate(make_nominee(0.5, synthetic=False), "toy_apart")
    with pytest.raises(InputError, match=r"toy_apart, version 2.*Name another version"):
        versions.find("toy_apart", "2")
    ask = MlflowClient.get_registered_model

    def busy(self, name):
        if name == "toy_apart":
            raise MlflowException("please wait", error_code=TEMPORARILY_UNAVAILABLE)
        return ask(self, name)

    monkeypatch.setattr(MlflowClient, "get_registered_model", busy)
    with pytest.raises(InputError, match=r"a registry that answers, found.*please wait"):
        versions.find("toy_apart", "candidate")


@pytest.mark.usefixtures("light")
def test_a_version_whose_files_are_others_is_neither_loaded_nor_champion_already(
    client, make_nominee
):
    nominee = make_nominee(0.8)
    versions.nominate(nominee, "toy_tampered")
    promote("toy_tampered", nominee)
    assert versions.fetch("toy_tampered")[:2] == ("toy_tampered-synthetic", "1")
    found = client.get_model_version("toy_tampered-synthetic", "1")
    Path(found.source.removeprefix("file://"), "system.safetensors").write_bytes(b"another")
    for load in (load_version, versions.load):
        with pytest.raises(InputError, match=r"\[system.safetensors\].*found another"):
            load("toy_tampered")
    decision = decide(champions.contenders("toy_tampered"), SYNTHETIC, nominee.evaluation)
    assert decision.verdict == "refused"
    assert "is champion and should not be used" in decision.told
    assert "system.safetensors" in decision.told


@pytest.mark.usefixtures("light")
def test_what_a_version_can_do_without_is_noted(client, make_nominee):
    versions.nominate(make_nominee(), "toy_lacks")
    noted = champions.contenders("toy_lacks").candidate.version.may_lack
    assert noted == ("face", "speech")


def test_no_password_is_shown(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:se@cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for ask in (lambda: versions.find("toy"), lambda: tracking.open_run(tmp_path, "run")):
        with pytest.raises(InputError, match=r"127\.0\.0\.1") as refused:
            ask()
        assert "cret" not in str(refused.value)
        assert "://***@127.0.0.1:9" in str(refused.value)


def test_a_model_is_nominated_from_any_folder(make_nominee, project, tmp_path, monkeypatch):
    """MLflow's own database is that of the current folder, which need not be the project's."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run = tracking.open_run(project, "from elsewhere")
    try:
        monkeypatch.chdir(tmp_path / "elsewhere")
        versions.nominate(make_nominee(0.7), "toy_elsewhere")
        assert versions.fetch("toy_elsewhere", "candidate")[1] == "1"
        assert not list(Path.cwd().iterdir())
    finally:
        run.close("FINISHED")


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


@pytest.mark.usefixtures("light")
def test_a_real_candidate_does_not_hide_the_champions_of_the_synthetic_model(client, make_nominee):
    real, synthetic = (make_nominee(0.5, 4, synthetic=flag) for flag in (False, True))
    versions.nominate(synthetic, "toy_hidden")
    promote("toy_hidden", synthetic)
    versions.nominate(real, "toy_hidden")
    assert champions.champions("toy_hidden", "candidate").entries == ()
    assert champions.champions("toy_hidden", "champion").champion == "1"
    assert champions.champions("toy_hidden").name == "toy_hidden-synthetic"


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
