"""Networks that are trained to do without modalities, as fitted systems: kept, loaded, scored."""

from __future__ import annotations

import runpy
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer.samples.batches import Samples, pack
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted, save_fitted
from mmer.training.loop import train
from mmer.training.scoring import score_samples

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "absent_modalities.py"
CPU = torch.device("cpu")
TRAINING = {"epochs": 1, "batch_size": 20, "device": "cpu", "modality_dropout": 0.3}
SMALL = {
    "hidden": 8,
    "latent": 4,
    "heads": 2,
    "feed_forward": 8,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 32,
    "max_length": 10,
}
NETWORKS = {"carat": SMALL, "ramer": SMALL, "pooled": {"step_width": 4}}
FILLS = ("mask", "token", "prototypes")


@pytest.fixture
def samples(toy_table) -> tuple[Samples, Samples]:
    return pack(toy_table(40)), pack(toy_table(20, seed=1, split="valid"))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fill", FILLS)
def test_what_was_trained_is_what_is_loaded(samples, name, fill, tmp_path):
    system = SYSTEMS[name]
    training = {**TRAINING, "absent": {"fill": fill, "distillation": 0.5}}
    settings = system.settings.model_validate({"network": NETWORKS[name], "training": training})
    fitted, history = system.fit(*samples, settings)
    assert history.epochs[0].losses["distillation"] > 0
    assert any(array.startswith("fill.") for array in fitted.arrays) == (fill != "mask")
    save_fitted(fitted, tmp_path / "fitted")
    loaded = load_fitted(tmp_path / "fitted")
    assert (loaded.digest, loaded.info) == (fitted.digest, fitted.info)
    before = torch.get_rng_state()
    scorer = system.scorer(loaded, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    learned = sum(x.numel() for x in scorer.network.parameters())
    assert system.count_parameters(loaded) == learned

    def build():
        return system.build(settings, samples[0].info)

    network = train(build, *samples, settings.training).network
    lacking = {"visual": np.arange(20) % 3 > 0}
    for present in (None, lacking):
        expected = score_samples(network, samples[1], present)
        np.testing.assert_array_equal(scorer.scores(samples[1], present), expected)
    assert np.abs(scorer.scores(samples[1], lacking) - scorer.scores(samples[1])).max() > 0
    assert len(scorer.attention(samples[1], np.arange(4))) in (0, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_that_ask_for_nothing_are_not_told(name):
    """So that what was fitted before there was any keeps its digest and its recipe."""
    system = SYSTEMS[name]
    plain = system.settings.model_validate({"training": TRAINING})
    off = {"fill": "mask", "distillation": 0.0}
    asked = system.settings.model_validate({"training": {**TRAINING, "absent": off}})
    assert "absent" not in plain.model_dump(mode="json")["training"]
    assert system.recipe(plain) == system.recipe(asked)
    other = system.settings.model_validate({"training": {**TRAINING, "absent": {"fill": "token"}}})
    assert system.recipe(other) != system.recipe(plain)


def test_who_knows_how_frequent_labels_are_is_judged_at_the_best_threshold(monkeypatch):
    """In the benchmark: every label is rarer than 0.5 there, and one half would predict none."""
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    benchmark = runpy.run_path(str(BENCHMARK), run_name="benchmark")
    sizes = Namespace(samples=60, test_samples=40, strength=0.7, absent=0.4)
    one = benchmark["drawn"](1, sizes)
    assert one.train.truth.mean(axis=0).max() < 0.5
    assert min(benchmark["constants"](one)["prevalence"].values()) > 0.2
