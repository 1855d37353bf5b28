"""RAMer against numbers of its released program, its crashes repaired.

`GOLDEN_RAMER_DIR` names the folder; each pair of .json and .safetensors in it is a case: one
training step without dropout. All sizes and weights come from the JSON, widths and lengths from the
tensors, and everything that the files hold is compared. What they hold is the release's behaviour:
the reversal in the place of the stack shuffle, label slot 0 for the common classification
(`reference: true`), and attention to the steps that the file's mask says there are.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mmer.samples.batches import Batch
from mmer.systems.carat.published import published_names
from mmer.systems.layers.contrast import UNMATCHED
from mmer.systems.layers.shuffle import apply_shuffle
from mmer.systems.ramer.network import Ramer
from mmer.systems.ramer.settings import RamerNetwork, RamerWeights
from mmer.systems.ramer.shuffle import reversed_order

OWN = Path(__file__).parents[2] / "golden" / "ramer"
FOLDER = Path(os.environ.get("GOLDEN_RAMER_DIR") or OWN)
CASES = sorted(path.with_suffix("") for path in FOLDER.glob("*.json"))
TOLERANCE = 1e-5
MODALITIES = ("text", "visual", "audio")

# The loss's name in the files -> the terms that it is the sum of.
TERMS = {
    "all_loss": ("total",),
    "cl_loss": ("contrast",),
    "recon_mse_loss": ("mse_autoencoder",),
    "aug_mse_loss": ("mse_alpha",),
    "beta_mse_loss": ("mse_beta",),
    "shuffle_aug_clf_loss": ("bce_shuffled",),
    "total_aug_clf_loss": ("bce_aggregation",),
    "adv_preivate_loss": ("adversary_specific",),
    "adv_common_loss": ("adversary_common",),
    "preivate_diff_loss": ("orthogonality_specific",),
    "common_diff_loss": ("orthogonality_common",),
    "cml_loss": ("bce_common",),
}
WEIGHTS = {
    "bce_label_specific": "lsr_clf",
    "bce_alpha": "aug_clf",
    "bce_beta": "beta_clf",
    "contrast": "contrastive",
    "mse_autoencoder": "recon_mse",
    "mse_alpha": "aug_mse",
    "mse_beta": "beta_mse",
    "bce_aggregation": "agg_clf",
    "bce_shuffled": "shuffle_clf",
    "adversary_specific": "adversarial",
    "adversary_common": "adversarial",
    "orthogonality_specific": "orthogonality",
    "orthogonality_common": "orthogonality",
    "bce_common": "common_clf",
}
# Where the files do not say, the published ones.
CONSTANTS = {"temperature": "temperature", "prototype_momentum": "proto_momentum"}
# In every file, part of no computation.
UNUSED = ("personality", ".pooler.")


@dataclass
class Golden:
    """One pair of files."""

    sizes: dict
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, stem: Path) -> Golden:
        sizes = json.loads(stem.with_suffix(".json").read_text())
        return cls(sizes, load_file(stem.with_suffix(".safetensors")))

    def under(self, prefix: str) -> dict[str, Tensor]:
        found = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        return {k: v for k, v in found.items() if not any(part in k for part in UNUSED)}

    def batch(self) -> Batch:
        given = self.under("in.")
        features = {m: given[m] for m in MODALITIES}
        ones = torch.ones(features["text"].shape[:2])
        masks = {m: given.get("mask", ones).bool() for m in MODALITIES}
        return Batch(features, masks, given["labels"])

    def settings(self) -> RamerNetwork:
        s = self.sizes
        layers = (
            s["layers"] if isinstance(s["layers"], dict) else dict.fromkeys(MODALITIES, s["layers"])
        )
        return RamerNetwork(
            hidden=s["hidden"],
            latent=s["proj"],
            heads=s["heads"],
            feed_forward=s["ffn"],
            layers=layers,
            dropout=0.0,
            specific_dropout=0.0,
            common_dropout=0.0,
            discriminator_dropout=0.0,
            max_length=len(self.tensors["init.text.embeddings.position_embeddings.weight"]),
            queue=s["queue"],
            **{ours: s[name] for ours, name in CONSTANTS.items() if name in s},
            loss_weights=RamerWeights(**{ours: s["weights"][w] for ours, w in WEIGHTS.items()}),
            reference=True,
        )

    def network(self) -> Ramer:
        widths = {m: self.tensors[f"in.{m}"].shape[2] for m in MODALITIES}
        network = Ramer(self.settings(), widths, self.sizes["num_labels"])
        state = network.state_dict()
        given = assembled(network, self.under("init."))
        assert set(state) - set(given) == {
            f"label_specific.{m}.input_norm.{ours}"
            for m in MODALITIES
            for ours in ("mean", "scale")
        }
        for name, values in given.items():
            if name == "queue.classes":  # labels that match nothing are random numbers there
                whole = (values == values.round()) & (values >= 0)
                values = torch.where(whole, values, UNMATCHED).long()
            state[name] = values.view(state[name].shape).to(state[name].dtype)
        network.load_state_dict(state)
        return network.train()


def assembled(network: Ramer, released: dict[str, Tensor]) -> dict[str, Tensor]:
    """The released tensors as ours hold them, flat, under our names; none is left over."""
    kinds = ("weight", "bias")
    names = {
        **published_names(network.settings),
        **{
            f"specific.linear.{kind}": tuple(
                f"private_feature_extractor.{place}.0.{kind}" for place in range(len(MODALITIES))
            )
            for kind in kinds
        },
        **{
            f"{ours}.{kind}": (f"{theirs}.{kind}",)
            for ours, theirs in (
                ("common.linear", "common_feature_extractor.0"),
                ("common_classification.linear", "common_classfier.0"),
                ("discriminator.join", "modal_discriminator.0"),
                ("discriminator.output", "modal_discriminator.3"),
            )
            for kind in kinds
        },
    }
    names = {ours: parts for ours, parts in names.items() if set(parts) <= set(released)}
    assert {part for parts in names.values() for part in parts} == set(released)
    return {
        ours: torch.cat([released[part].reshape(-1) for part in parts])
        for ours, parts in names.items()
    }


def assert_close(name: str, ours: Tensor, theirs: Tensor) -> None:
    """Relative to the tensor's length; see the test of the other published program."""
    assert ours.shape == theirs.shape, name
    error = (ours.double() - theirs.double()).norm()
    assert error <= TOLERANCE * theirs.double().norm(), f"{name}: {error}"


def outputs(golden: Golden, network: Ramer) -> dict[str, Tensor]:
    """Everything that the files may hold of the forward pass, under their names."""
    batch = golden.batch()
    with torch.no_grad():
        found = network(batch)
        made = network.adversarial(found)
        lists = network.num_labels, len(MODALITIES), len(batch.labels), batch.labels.device
        shuffled, shuffled_labels = apply_shuffle(reversed_order(*lists), found.beta, batch.labels)
        ours = {
            "agg_out": network.aggregation(found.beta.transpose(0, 1)),
            "shuffle_aug_out": network.aggregation(shuffled),
            "shuffle_gt_labels": shuffled_labels,
            "common_pred": made.classified.sigmoid(),
            "predict_scores": network.scores(batch),
            "clf_out_1": network.heads(found.label_specific),
            "clf_out_3": network.heads(found.alpha),
            "clf_out_4": network.heads(found.beta),
        }
    for place, m in enumerate(MODALITIES):
        ours |= {
            f"{m}_lsr": found.label_specific[place],
            f"latent_{m}": found.latent[place],
            f"recon_{m}": found.decoded[place],
            f"{m}_aug": found.alpha[place],
            f"{m}_beta": found.beta[place],
            f"private_{m}": made.specific[place],
            f"common_{m}": made.common[place],
            f"private_{m}_modal_pred": made.told_of_specific[place].flatten(0, 1),
            f"common_{m}_modal_pred": made.told_of_common[place].flatten(0, 1),
        }
    return ours


def assert_losses(golden: Golden, terms: dict[str, Tensor]) -> None:
    weights, losses = golden.sizes["weights"], dict(golden.sizes["losses"])
    supervised = sum(
        weights[WEIGHTS[name]] * terms[name].item()
        for name in ("bce_label_specific", "bce_alpha", "bce_beta")
    )
    assert supervised == pytest.approx(losses.pop("clf_loss"), rel=TOLERANCE)
    for name, theirs in losses.items():
        ours = sum(terms[term].item() for term in TERMS[name])
        assert ours == pytest.approx(theirs, rel=TOLERANCE), name


@pytest.mark.parametrize("stem", CASES, ids=lambda stem: stem.name)
def test_golden_ramer_as_released(stem: Path) -> None:
    golden = Golden.read(stem)
    assert {name.split(".")[0] for name in golden.tensors} <= {"init", "in", "out", "grad"}
    network = golden.network()
    ours = outputs(golden, network)
    for name, theirs in golden.under("out.").items():
        assert_close(name, ours[name], theirs)
    losses = network.losses(golden.batch())
    assert_losses(golden, losses.terms)
    losses.terms["total"].backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    theirs = assembled(network, golden.under("grad."))
    assert set(theirs) == set(gradients)
    for name, gradient in theirs.items():
        assert_close(f"gradient of {name}", gradients[name].flatten(), gradient)


def test_there_are_golden_cases_of_ramer() -> None:
    assert CASES, f"no golden files in {FOLDER}"
    assert all(stem.with_suffix(".safetensors").is_file() for stem in CASES)
