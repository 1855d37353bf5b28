"""CARAT and its optimiser against numbers that the published program gave.

`GOLDEN_DIR` names the folder; each pair of .json and .safetensors in it is a case. All sizes and
constants come from the JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from mmer.samples.batches import Batch
from mmer.systems.carat.network import Carat
from mmer.systems.carat.published import MODALITIES, from_published, published_names
from mmer.systems.carat.settings import CaratNetwork, LossWeights
from mmer.systems.layers.contrast import UNMATCHED
from mmer.systems.layers.shuffle import Shuffle, apply_shuffle
from mmer.training.optimiser import BertAdam, warmup_then_linear
from mmer.training.settings import OptimiserSettings

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parents[2] / "golden" / "carat")
CASES = sorted(path.with_suffix("") for path in FOLDER.glob("*.json"))
TOLERANCE = 1e-5

TERMS = {
    "contrast": "cl_loss",
    "mse_autoencoder": "recon_mse_loss",
    "mse_alpha": "aug_mse_loss",
    "mse_beta": "beta_mse_loss",
    "bce_aggregation": "total_aug_clf_loss",
    "bce_shuffled": "shuffle_aug_clf_loss",
    "total": "all_loss",
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
}


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
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def batch(self, step: int) -> Batch:
        given = self.under(f"step{step}.in.")
        features = {m: given[m] for m in MODALITIES}
        masks = {m: given["mask"].bool() for m in MODALITIES}
        if not self.sizes["aligned"]:  # the published program sees every frame
            for m in ("visual", "audio"):
                masks[m] = torch.ones(features[m].shape[:2], dtype=torch.bool)
        return Batch(features, masks, given["labels"])

    def shuffle(self, step: int) -> Shuffle:
        given = self.under(f"step{step}.in.")
        return Shuffle(given["shuffle_samples"], given["shuffle_modalities"])

    def masked(self) -> bool:
        """Whether any step is padding, which the reference setting would attend to."""
        return any(not v.bool().all() for k, v in self.tensors.items() if ".in.mask" in k)

    def settings(self) -> CaratNetwork:
        s = self.sizes
        reference = not self.masked()
        lengths = {m: self.tensors[f"step0.in.{m}"].shape[1] for m in MODALITIES}
        return CaratNetwork(
            hidden=s["hidden"],
            latent=s["proj"],
            heads=s["heads"],
            feed_forward=s["ffn"],
            layers=s["layers"],
            dropout=0.0,
            max_length=len(self.tensors["init.text.embeddings.position_embeddings.weight"]),
            pseudo_aligned_length=None if s["aligned"] else s["pseudo_aligned_length"],
            temperature=s["temperature"],
            queue=s["queue"],
            prototype_momentum=s["proto_momentum"],
            loss_weights=LossWeights(**{ours: s["weights"][w] for ours, w in WEIGHTS.items()}),
            reference=reference,
            reference_lengths=lengths if reference else {},
        )

    def network(self) -> Carat:
        widths = {m: self.sizes[f"{m}_dim"] for m in MODALITIES}
        network = Carat(self.settings(), widths, self.sizes["num_labels"])
        network.load_state_dict(from_published(self.under("init."), network))
        return network

    def optimiser(self, network: Carat) -> tuple[BertAdam, LambdaLR]:
        s = self.sizes
        settings = OptimiserSettings(
            learning_rate=s["lr"],
            warmup=s["warmup"],
            weight_decay=s["weight_decay"],
            betas=tuple(s["betas"]),
            eps=s["eps"],
            gradient_norm=s["global_clip"],
            parameter_gradient_norm=s["per_parameter_clip"],
        )
        optimiser = BertAdam(network, settings)
        return optimiser, warmup_then_linear(optimiser, settings.warmup, s["total_steps"])

    def use_pseudo_aligned_masks(self, network: Carat, step: int) -> list:
        """The files give the mask after pseudo-alignment; the network derives its own."""
        mask = self.tensors.get(f"step{step}.in.mask_pseudo_aligned")
        return [
            branch.pseudo_alignment.register_forward_hook(
                lambda _, __, out: (out[0], mask.bool(), out[2])
            )
            for branch in network.label_specific.values()
            if branch.pseudo_alignment is not None
        ]


def assert_close(name: str, ours: Tensor, theirs: Tensor) -> None:
    """Relative to the tensor's length.

    Not element by element: where a gradient is nothing but rounding, Adam makes a move of it, in
    the published program as in ours; computed in float64 the same elements differ as much.
    """
    assert ours.shape == theirs.shape, name
    error = (ours.double() - theirs.double()).norm()
    assert error <= TOLERANCE * theirs.double().norm(), f"{name}: {error}"


def assembled(network: Carat, published: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The published tensors as ours hold them, flat, under our names."""
    used = set()
    for ours, parts in published_names(network.settings).items():
        if set(parts) <= set(published):
            used.update(parts)
            yield ours, torch.cat([published[part].reshape(-1) for part in parts])
    assert used == {name for name in published if ".pooler." not in name}


def assert_outputs(golden: Golden, network: Carat, step: int) -> None:
    """Every level, the pooled logits, the aggregations and the scores."""
    theirs = golden.under(f"step{step}.out.")
    batch = golden.batch(step)
    with torch.no_grad():
        found = network(batch)
        aggregated = network.aggregation(found.beta.transpose(0, 1))
        shuffled = apply_shuffle(golden.shuffle(step), found.beta, batch.labels)
    for place, m in enumerate(MODALITIES):
        assert_close(f"{m}_lsr", found.label_specific[place], theirs[f"{m}_lsr"])
        assert_close(f"latent_{m}", found.latent[place], theirs[f"latent_{m}"])
        assert_close(f"recon_{m}", found.decoded[place], theirs[f"recon_{m}"])
        assert_close(f"{m}_aug", found.alpha[place], theirs[f"{m}_aug"])
        assert_close(f"{m}_beta", found.beta[place], theirs[f"{m}_beta"])
    assert_close("clf_out_1", network.heads(found.label_specific), theirs["clf_out_1"])
    assert_close("clf_out_3", network.heads(found.alpha), theirs["clf_out_3"])
    assert_close("clf_out_4", network.heads(found.beta), theirs["clf_out_4"])
    assert_close("agg_out", aggregated, theirs["agg_out"])
    assert_close("shuffle_aug_out", network.aggregation(shuffled[0]), theirs["shuffle_aug_out"])
    assert_close("shuffle_gt_labels", shuffled[1], theirs["shuffle_gt_labels"])
    assert_close("predict_scores", network.scores(batch), theirs["predict_scores"])


def assert_losses(golden: Golden, step: int, losses: dict[str, Tensor]) -> None:
    theirs, weights = golden.sizes["losses"][step], golden.sizes["weights"]
    for ours, name in TERMS.items():
        assert losses[ours].item() == pytest.approx(theirs[name], rel=TOLERANCE), name
    supervised = sum(
        weights[WEIGHTS[name]] * losses[name].item()
        for name in ("bce_label_specific", "bce_alpha", "bce_beta")
    )
    assert supervised == pytest.approx(theirs["clf_loss"], rel=TOLERANCE)


def assert_gradients(golden: Golden, network: Carat, step: int) -> None:
    ours = {name: p.grad for name, p in network.named_parameters()}
    theirs = dict(assembled(network, golden.under(f"step{step}.grad.")))
    assert set(ours) == set(theirs)
    for name, gradient in theirs.items():
        assert_close(f"gradient of {name}", ours[name].flatten(), gradient)


def assert_state(golden: Golden, network: Carat, step: int) -> None:
    """Buffers after each step; parameters too where the files have them (after the last)."""
    state = network.state_dict()
    for name, theirs in assembled(network, golden.under(f"step{step}.after.")):
        ours = state[name].flatten()
        if name == "queue.classes":  # labels that match nothing are random numbers there
            theirs = torch.where(ours == UNMATCHED, UNMATCHED, theirs)
        assert_close(f"{name} after step {step}", ours, theirs)


@pytest.mark.parametrize("stem", CASES, ids=lambda stem: stem.name)
def test_training_and_inference_as_published(stem: Path) -> None:
    golden = Golden.read(stem)
    network = golden.network()
    optimiser, schedule = golden.optimiser(network)
    for step in range(golden.sizes["steps"]):
        hooks = golden.use_pseudo_aligned_masks(network, step)
        assert_outputs(golden, network, step)
        terms, carry = network.losses(golden.batch(step), golden.shuffle(step))
        assert_losses(golden, step, terms)
        optimiser.zero_grad()
        terms["total"].backward()
        if any(name.startswith(f"step{step}.grad.") for name in golden.tensors):
            assert_gradients(golden, network, step)
        optimiser.step()
        schedule.step()
        network.after_step(carry)
        assert_state(golden, network, step)
        for hook in hooks:
            hook.remove()
    network.eval()
    golden.use_pseudo_aligned_masks(network, golden.sizes["steps"] - 1)
    scores = network.scores(golden.batch(golden.sizes["steps"] - 1))
    assert_close("eval.scores", scores, golden.tensors["eval.scores"])
    labels = (scores > golden.sizes["threshold"]).float()
    torch.testing.assert_close(labels, golden.tensors["eval.labels"])


def test_there_are_cases() -> None:
    assert CASES, f"no golden files in {FOLDER}"
