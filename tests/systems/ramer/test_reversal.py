"""The reversed gradient, measured on a probe: what the discriminator can tell after training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmer.corpora.probes.files import directions, draw_split
from mmer.corpora.probes.in_time import Mean
from mmer.corpora.probes.probe import LABELS, MODALITIES
from mmer.samples.batches import pack
from mmer.samples.table import Features, Sample, TableInfo, write_table
from mmer.systems.ramer import network as module
from mmer.systems.ramer.settings import RamerSettings
from mmer.systems.ramer.system import RamerSystem

GUESSING = 3 * math.log(3)
"""What a discriminator loses that knows nothing: three modalities, as likely as each other."""
SETTINGS = RamerSettings.model_validate(
    {
        "network": {
            "hidden": 16,
            "latent": 8,
            "heads": 2,
            "feed_forward": 16,
            "layers": 1,
            "queue": 128,
        },
        "training": {
            "epochs": 15,
            "batch_size": 32,
            "device": "cpu",
            "optimiser": {"learning_rate": 1e-3},
        },
    }
)


@pytest.fixture
def probe(tmp_path):
    """Training and validation samples of a small probe."""
    drawn, found = Mean(train_samples=400, valid_samples=100), []
    for split in ("train", "valid"):
        groups, labels, shown = draw_split(drawn, split)
        steps = np.einsum("nmtc,mcd->nmtd", shown.values, directions(drawn)).astype(np.float32)
        info = TableInfo(
            corpus="probe",
            split=split,
            labels=LABELS,
            features={m: Features(name="drawn", width=steps.shape[-1]) for m in MODALITIES},
            alignment="word",
            synthetic=True,
            fingerprint="drawn",
        )
        rows = [
            Sample(
                sample_id=f"sample {n}",
                group_id=f"group {groups[n]}",
                features={m: steps[n, i][shown.there[n, i]] for i, m in enumerate(MODALITIES)},
                labels=labels[n],
            )
            for n in range(len(labels))
        ]
        found.append(pack(write_table(tmp_path / f"{split}.arrow", info, rows)))
    return found


def told(train, valid):
    """What the discriminator loses by epoch in training, and in the end on validation samples."""
    system = RamerSystem()
    fitted, history = system.fit(train, valid, SETTINGS)
    network = system.scorer(fitted, torch.device("cpu")).network
    with torch.no_grad():
        terms = network._adversarial_terms(
            network(valid.gather(np.arange(len(valid)))), valid.labels
        )
    names = ("adversary_specific", "adversary_common")
    by_epoch = [[epoch.losses[name] for epoch in history.epochs] for name in names]
    return *by_epoch, *(terms[name].item() for name in names)


@pytest.mark.slow
def test_the_discriminator_tells_specific_features_and_is_fooled_by_common_ones(probe, monkeypatch):
    specific, common, at_last, common_at_last = told(*probe)
    assert specific[0] > 0.8 * GUESSING
    assert specific[-1] < 0.5 * GUESSING
    assert at_last < 0.5 * GUESSING
    assert min(common) > 0.9 * GUESSING
    assert common_at_last > 0.9 * GUESSING
    # The same without the reversal: the discriminator tells them as it tells specific ones.
    monkeypatch.setattr(module, "reverse_gradient", lambda features: features)
    _, common, _, common_at_last = told(*probe)
    assert common[-1] < 0.5 * GUESSING
    assert common_at_last < 0.5 * GUESSING


@pytest.mark.slow
def test_fooling_the_discriminator_does_not_take_the_modality_away(probe):
    """What the README says of it: a classifier that was not trained along tells the modality."""
    system = RamerSystem()
    fitted, _ = system.fit(*probe, SETTINGS)
    network = system.scorer(fitted, torch.device("cpu")).network

    def common_features(samples):
        with torch.no_grad():
            found = network.adversarial(network(samples.gather(np.arange(len(samples)))))
        M, B, L, d = found.common.shape
        return found.common.reshape(M * B * L, d).numpy(), np.repeat(np.arange(M), B * L)

    (x, y), (x_valid, y_valid) = map(common_features, probe)
    some = np.random.default_rng(0).permutation(len(x))[:4000]
    fresh = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    assert fresh.fit(x[some], y[some]).score(x_valid, y_valid) > 0.9
