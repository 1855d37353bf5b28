"""Where modalities keep their own rates, CARAT's pseudo-alignment runs, in every environment.

Peng et al. (AAAI 2024) bring visual and audio to one number of steps in the unaligned setting.
"""

from __future__ import annotations

import pytest
import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from torch import nn

from mmer.samples.batches import Batch
from mmer.systems import SYSTEMS
from mmer.systems.layers.label_specific import PseudoAlignment

STEPS = {"text": 4, "visual": 9, "audio": 7}
WIDTH, LABELS = 3, 6


@pytest.mark.parametrize("env", ["base", "paper", "reproduction", "test"])
@pytest.mark.parametrize(
    ("corpus", "aligned"), [("mosei", []), ("mosei_unaligned", ["visual", "audio"]), ("m3ed", [])]
)
def test_pseudo_alignment_runs_just_where_it_is_needed(
    new_project, monkeypatch, corpus, aligned, env
):
    project = new_project()
    monkeypatch.chdir(project)
    bootstrap_project(project)
    with KedroSession.create(project, env=env) as session:
        given = session.load_context().params[corpus]["carat"]
    system = SYSTEMS["carat"]
    settings = system.settings.model_validate(given).network
    network = system.network(settings, dict.fromkeys(STEPS, WIDTH), LABELS).eval()
    passed: list[str] = []

    def watch(branch: nn.Module, modality: str) -> None:
        for layer in branch.modules():
            if isinstance(layer, PseudoAlignment):
                layer.register_forward_hook(lambda *_: passed.append(modality))

    for modality, branch in network.label_specific.items():
        watch(branch, modality)
    features = {m: torch.randn(2, steps, WIDTH) for m, steps in STEPS.items()}
    masks = {m: torch.ones(2, steps, dtype=torch.bool) for m, steps in STEPS.items()}
    assert network.scores(Batch(features, masks, torch.zeros(2, LABELS))).shape == (2, LABELS)
    assert passed == aligned
