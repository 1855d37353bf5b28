"""What a run is asked for is taken, or refused before it begins with the name that was meant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework import project
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline, node

from mmer.calibration.settings import CalibrationSettings
from mmer.corpora import CORPORA
from mmer.datasets.raw_corpus import RawFiles
from mmer.errors import InputError
from mmer.hooks import NothingIgnored, PathsAsMeant, RawFilesThere
from mmer.hooks.ignored import _remedy
from mmer.hooks.parameters import known_settings
from mmer.pipeline_registry import register_pipelines
from mmer.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[1] / "conf"
CORPUS, OTHER = list(CORPORA)[:2]
FILES = {
    "base/catalog.yml": """
        _results: ${runtime_params:results, ${globals:results}}
        one.raw: {type: MemoryDataset, metadata: {path: "${runtime_params:one_files, null}"}}
        two.raw: {type: MemoryDataset, metadata: {path: "${runtime_params:two_files, null}"}}
        kept: {type: json.JSONDataset, filepath: "${_results}/kept.json"}
    """,
    "base/globals.yml": "results: data",
    "base/parameters.yml": f"{CORPUS}: {{evaluation: {{resamples: 100}}}}",
    "local/.gitkeep": "",
}


def take(value: Any) -> Any:
    return value


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path / "conf" / name, text)
    return tmp_path / "conf"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def context(conf: Path, env: str | None = None, **params: Any) -> SimpleNamespace:
    """As much of a session's context as hooks look at; a dot in a name opens a level."""
    given: dict[str, Any] = {}
    for name, value in params.items():
        *parents, last = name.split(".")
        level = given
        for part in parents:
            level = level.setdefault(part, {})
        level[last] = value
    loader = OmegaConfigLoader(str(conf), env, given, **CONFIG_LOADER_ARGS)
    return SimpleNamespace(config_loader=loader)


def refusal(conf: Path, env: str | None = None, **params: Any) -> str:
    with pytest.raises(InputError) as error:
        NothingIgnored().after_context_created(context(conf, env, **params))
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (f"{CORPUS}x.evaluation.resamples", f"{CORPUS}.evaluation.resamples"),
        (f"{CORPUS}.evaluatoin.resamples", f"{CORPUS}.evaluation.resamples"),
        (f"{CORPUS}.evaluation.resample", f"{CORPUS}.evaluation.resamples"),
        (f"{CORPUS}.pooled.trainin.epochs", f"{CORPUS}.pooled.training.epochs"),
        (
            f"{CORPUS}.pooled.training.optimizer.warmup",
            f"{CORPUS}.pooled.training.optimiser.warmup",
        ),
        (f"{CORPUS}.trainin.optimisation.resamples", f"{CORPUS}.evaluation.resamples"),
        ("evaluation.resamples", f"{CORPUS}.evaluation.resamples"),
        ("one_file", "one_files"),
    ],
)
def test_a_mistyped_parameter_is_refused_with_the_name_that_was_meant(conf, name, meant):
    told = refusal(conf, **{name: 3})
    assert told.startswith(f"--params [{name}]: ")
    assert told.endswith(f"Did you mean {meant}?")


def test_what_is_like_nothing_is_told_what_there_is(conf):
    assert f"There are: {CORPUS}, " in refusal(conf, xyzzy=3)
    assert "There are: ingestion, evaluation" in refusal(conf, **{f"{CORPUS}.xyzzy": 3})


def test_a_wrong_value_is_refused_where_no_pipeline_of_this_run_reads_it(conf):
    told = refusal(conf, **{f"{OTHER}.evaluation.resamples": "many"})
    assert told.startswith(f"--params [{OTHER}.evaluation.resamples]: expected a valid integer")
    told = refusal(conf, **{CORPUS: 3})
    assert f"[{CORPUS}]: expected settings by name, such as {CORPUS}.ingestion, found 3" in told


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("local/paramters.yml", "", "Rename it to conf/local/parameters.yml"),
        ("local/more/globals.yaml", "", "a file that nothing reads"),
        ("parameters.yml", "", "Rename it to conf/base/parameters.yml"),
        ("local/globals.yml", "resluts: x", "local/globals.yml [resluts]: .* Did you mean results"),
        (
            "local/parameters.yml",
            "one_files: x",
            "parameters.yml .one_files.: .*--params=one_files=",
        ),
        ("local/parameters.yml", "results: x", "or set it in globals.yml"),
        (
            "local/parameters_x.yml",
            f"{CORPUS}: {{evaluation: {{resample: 3}}}}",
            f"^conf/local/parameters_x.yml .{CORPUS}.evaluation.resample.",
        ),
        ("base/parameters_x.yml", "xyzzy: 3", "^conf/base/parameters_x.yml .xyzzy."),
    ],
)
def test_files_and_names_in_them_that_nothing_reads(conf, file, text, message):
    write(conf / file, text)
    with pytest.raises(InputError, match=message.replace("[", r"\[").replace("]", r"\]")):
        NothingIgnored().after_context_created(context(conf))


def test_of_many_names_some_are_told():
    assert _remedy("", map(str, range(12))).endswith("10, 11.")
    assert _remedy("", map(str, range(30))).endswith("10, 11, and 18 more.")


def test_what_this_machine_sets_is_not_passed_by_in_silence(conf, caplog):
    write(conf / "local/parameters.yml", f"{CORPUS}: {{evaluation: {{resamples: 70}}}}")
    NothingIgnored().after_context_created(context(conf))
    assert not caplog.text
    NothingIgnored().after_context_created(context(conf, "base"))
    assert "In environment base, Kedro does not read conf/local/parameters.yml." in caplog.text


def test_what_is_read_is_let_pass(conf):
    write(
        conf / "local/parameters_mine.json", f'{{"_templates": 1, "{CORPUS}": {{"pooled": {{}}}}}}'
    )
    write(conf / "local/.hidden.yml", "a: 1")
    given = {"one_files": "x", "results": "y", f"{CORPUS}.evaluation.resamples": 70}
    NothingIgnored().after_context_created(context(conf, **given))


def test_an_environment_that_there_is_not(conf):
    assert refusal(conf, "bas").endswith("found bas. Did you mean base?")


@pytest.mark.parametrize("env", sorted(one.name for one in CONF.iterdir() if one.is_dir()))
def test_nothing_in_the_environments_is_ignored(env):
    NothingIgnored().after_context_created(context(CONF, env))


@pytest.mark.slow
def test_settings_are_those_that_nodes_read():
    inputs = {name for one in register_pipelines().values() for name in one.inputs()}
    read = {name.removeprefix("params:") for name in inputs if name.startswith("params:")}
    known = {f"{owner}.{key}" for owner, kinds in known_settings().items() for key in kinds}
    assert read <= known


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pipeline]:
    """Two pipelines, each on an owner of parameters and raw files of its own."""
    found = {
        f"train_{owner}": Pipeline(
            [
                node(take, f"{place}.raw", f"{place}.taken", name=f"take_{place}"),
                node(take, f"params:{owner}.evaluation", f"{place}.settings", name=place),
            ]
        )
        for owner, place in ((CORPUS, "one"), (OTHER, "two"))
    }
    monkeypatch.setattr(project, "pipelines", found)
    return found


def start(conf: Path, pipelines: dict[str, Pipeline], load_versions: Any = None, **params: Any):
    """Begin to run the first pipeline."""
    made, hook = context(conf, **params), NothingIgnored()
    hook.after_context_created(made)
    catalog = DataCatalog.from_config(made.config_loader["catalog"])
    asked = {"runtime_params": made.config_loader.runtime_params, "load_versions": load_versions}
    name = f"train_{CORPUS}"
    hook.before_pipeline_run({**asked, "pipeline_names": [name]}, pipelines[name], catalog)


def test_the_command_sets_what_its_pipeline_takes(conf, pipelines):
    start(conf, pipelines, **{f"{CORPUS}.evaluation.resamples": 50}, one_files="x", results="y")
    with pytest.raises(InputError, match=f"Did you mean {CORPUS}.evaluation.resamples") as error:
        start(conf, pipelines, **{f"{OTHER}.evaluation.resamples": 50})
    assert f"expected a parameter of train_{CORPUS}, found one of other" in str(error.value)
    with pytest.raises(InputError, match="two_files"):
        start(conf, pipelines, two_files="x")
    with pytest.raises(InputError, match=f"{CORPUS}.pooled"):
        start(conf, pipelines, **{f"{CORPUS}.pooled.training.epochs": 5})


def test_entries_and_versions_that_the_run_does_not_read(conf, pipelines):
    with pytest.raises(InputError, match=r"Did you mean one\.raw"):
        start(conf, pipelines, {"one.rwa": "2026"})
    with pytest.raises(InputError, match="found one that it makes"):
        start(conf, pipelines, {"one.taken": "2026"})
    write(conf / "local/catalog.yml", "of_a_notebook: {type: MemoryDataset}")
    start(conf, pipelines)
    write(conf / "local/catalog.yml", "one.rawe: {type: MemoryDataset}")
    with pytest.raises(InputError, match=r"local/catalog.yml \[one.rawe\].*Did you mean one.raw"):
        start(conf, pipelines)


def test_paths_mean_what_a_person_expects(conf, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    write(conf / "local/globals.yml", "results: ~/results")

    def paths(**params: Any) -> dict[str, str]:
        made = context(conf, **params)
        PathsAsMeant().after_context_created(made)
        entries = made.config_loader["catalog"]
        return {"one": entries["one.raw"]["metadata"]["path"], "kept": entries["kept"]["filepath"]}

    assert paths(one_files="~/x") == {
        "one": "/home/someone/x",
        "kept": "/home/someone/results/kept.json",
    }
    assert paths(one_files="here")["one"] == str(tmp_path / "here")
    assert paths(one_files="there")["one"] == "there", "seen from the project, by Kedro"
    with pytest.raises(InputError, match=r"expected a path, found 20240105\. .* write \./ before"):
        paths(one_files=2024_01_05)


def test_lacking_raw_files_stop_a_run_before_others_hear_of_it(tmp_path):
    raw = RawFiles(corpus=CORPUS, filepath=str(tmp_path / "nowhere"))
    pipeline = Pipeline([node(take, "one.raw", "taken")])
    catalog = DataCatalog({"one.raw": raw})
    with pytest.raises(DatasetError, match="nowhere: expected the official files"):
        RawFilesThere().before_pipeline_run({}, pipeline, catalog)
    RawFilesThere().before_pipeline_run({"only_missing_outputs": True}, pipeline, catalog)
    catalog["one.raw"] = MemoryDataset(1)
    RawFilesThere().before_pipeline_run({}, pipeline, catalog)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{CORPUS}.carat.training.epochs: 3", "without dots.*and, indented below it"),
        (f"{CORPUS}: {{carat.training.epochs: 3}}", rf"{CORPUS}\].*without dots"),
        (f"- {CORPUS}", "found a list"),
        ("1: 2", "names that are text, found 1"),
        (f"{CORPUS}: {{1: 2}}", rf"{CORPUS}\].*names that are text"),
    ],
)
def test_what_is_no_mapping_of_names_is_said(conf, text, message):
    write(conf / "local/parameters.yml", text)
    with pytest.raises(InputError, match=rf"local/parameters.yml.*{message}"):
        NothingIgnored().after_context_created(context(conf))


@pytest.mark.parametrize(("given", "taken"), [("0.1 0.2", (0.1, 0.2)), (0.3, (0.3,))])
def test_several_values_are_words_on_a_command_line(given, taken):
    assert CalibrationSettings.model_validate({"alphas": given}).alphas == taken
