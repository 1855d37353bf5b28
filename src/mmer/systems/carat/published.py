"""Weights of the published program, read under its own names.

Where ours hold several of its tensors in one (query, key and value; the three modalities' small
networks), its tensors lie one after another along the first dimension of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mmer.errors import InputError
from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratNetwork
from mmer.systems.layers.contrast import UNMATCHED
from mmer.systems.network import check_names

MODALITIES = ("text", "visual", "audio")
_PSEUDO_ALIGNMENT = {"visual": "v2t_ctc", "audio": "a2t_ctc"}
_REBUILD = {"text": "va2t", "visual": "ta2v", "audio": "tv2a"}
_LSTM = tuple(
    f"{kind}_{place}_l{layer}"
    for kind in ("weight", "bias")
    for place in ("ih", "hh")
    for layer in (0, 1)
)
_UNUSED = ".pooler."  # present in every checkpoint, part of no computation


def published_names(settings: CaratNetwork) -> dict[str, tuple[str, ...]]:
    """Our name of each parameter and buffer -> the published names of its parts, in order."""
    names = {
        **_layer("autoencoders.encode_first", *(f"proj_{m}.linear.0" for m in MODALITIES)),
        **_layer("autoencoders.encode_last", *(f"proj_{m}.output" for m in MODALITIES)),
        **_layer("autoencoders.decode_first", *(f"de_proj_{m}.linear.0" for m in MODALITIES)),
        **_layer("autoencoders.decode_last", *(f"de_proj_{m}.output" for m in MODALITIES)),
        **_layer("reconstruction.rebuild", *(f"{_REBUILD[m]}.output" for m in MODALITIES)),
        **_layer("aggregation.join", "agg.linear.0"),
        **_layer("aggregation.output", "agg.output"),
        "heads.weight": tuple(f"{m}_clf_weight" for m in MODALITIES),
        "prototypes.vectors": tuple(
            f"{m}_{polarity}_protos" for m in MODALITIES for polarity in ("pos", "neg")
        ),
        "queue.vectors": ("queue",),
        "queue.classes": ("queue_label",),
        "queue.pointer": ("queue_ptr",),
    }
    for modality in MODALITIES:
        names |= _modality_names(settings, modality)
    return names


def _modality_names(settings: CaratNetwork, modality: str) -> dict[str, tuple[str, ...]]:
    ours, encoder = f"label_specific.{modality}", f"label_specific.{modality}.encoder"
    names = {
        **_layer(f"{ours}.input_norm", f"{modality}_norm.norm2d"),
        **_layer(f"{encoder}.input", f"{modality}.embeddings.word_embeddings"),
        f"{encoder}.positions": (f"{modality}.embeddings.position_embeddings.weight",),
        **_layer(f"{encoder}.norm", f"{modality}.embeddings.LayerNorm"),
        f"{ours}.label_attention.weight": (f"{modality}_attention.attention.weight",),
    }
    if settings.pseudo_aligned_to(modality):
        lstm = f"{_PSEUDO_ALIGNMENT[modality]}.pred_output_position_inclu_blank"
        names |= {f"{ours}.pseudo_alignment.lstm.{name}": (f"{lstm}.{name}",) for name in _LSTM}
    for number in range(settings.layers[modality]):
        layer, theirs = f"{encoder}.layers.{number}", f"{modality}.encoder.layer.{number}"
        attention = f"{theirs}.attention"
        names |= {
            **_layer(
                f"{layer}.attention.qkv",
                *(f"{attention}.self.{part}" for part in ("query", "key", "value")),
            ),
            **_layer(f"{layer}.attention.output", f"{attention}.output.dense"),
            **_layer(f"{layer}.attention_norm", f"{attention}.output.LayerNorm"),
            **_layer(f"{layer}.widen", f"{theirs}.intermediate.dense"),
            **_layer(f"{layer}.narrow", f"{theirs}.output.dense"),
            **_layer(f"{layer}.output_norm", f"{theirs}.output.LayerNorm"),
        }
    return names


def _layer(ours: str, *theirs: str) -> dict[str, tuple[str, ...]]:
    """Weight and bias of one layer."""
    return {f"{ours}.{name}": tuple(f"{t}.{name}" for t in theirs) for name in ("weight", "bias")}


def from_published(
    published: Mapping[str, Tensor], network: Carat, where: object = "published weights"
) -> dict[str, Tensor]:
    """The published program's parameters and buffers as a complete state of `network`.

    Pooler weights are ignored; `where` is what errors name.

    Raises:
        InputError: Names are missing or unknown, a shape is not the network's, or the network is
            not for the published modalities in their order.
    """
    if tuple(network.widths) != MODALITIES:
        expected = f"a network for {', '.join(MODALITIES)}, in this order"
        raise InputError(where, "", expected, ", ".join(network.widths))
    names = published_names(network.settings)
    found = (name for name in published if _UNUSED not in name)
    check_names(where, found, chain.from_iterable(names.values()))
    state = {}
    for ours, own in network.state_dict().items():
        if ours not in names:  # mean and scale of features, ours alone: the identity
            state[ours] = torch.full_like(own, ours.endswith("scale"))
            continue
        parts = [published[name] for name in names[ours]]
        if ours == "queue.classes":
            parts = [_classes(part, network) for part in parts]
        shape = _part_shape(own, len(parts))
        for name, part in zip(names[ours], parts, strict=True):
            if part.shape != shape:
                raise InputError(where, name, f"shape {tuple(shape)}", tuple(part.shape))
        state[ours] = torch.cat([part.reshape(-1) for part in parts]).view(own.shape).to(own.dtype)
    return state


def read_published_checkpoint(path: Path, network: Carat) -> dict[str, Tensor]:
    """A checkpoint of the published program (`.bin`, `.pt` or `.safetensors`) for `network`.

    No code in the file is run: it is read as tensors or refused.

    Raises:
        InputError: The file cannot be read as tensors, or does not fit the network.
    """
    if not path.is_file():
        raise InputError(path, "", "a checkpoint", "no such file")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise InputError(path, "", "a file of tensors", error) from error
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(x, Tensor) for name, x in tensors.items()
    ):
        raise InputError(path, "", "a mapping of names to tensors", type(tensors).__name__)
    # Saved from several devices, every name begins with the wrapper's.
    bare = {name.removeprefix("module."): x for name, x in tensors.items()}
    return from_published(bare, network, path)


def _part_shape(own: Tensor, parts: int) -> torch.Size:
    """Shape of each of the tensors that lie one after another in `own`."""
    if parts == 1:
        return own.shape
    if own.shape[0] < parts:  # prototypes: modality and polarity
        own = own.flatten(0, 1)
    if own.shape[0] == parts:
        return own.shape[1:]
    return torch.Size((own.shape[0] // parts, *own.shape[1:]))


def _classes(queue_labels: Tensor, network: Carat) -> Tensor:
    """The initial labels are random reals, which match nothing; what was enqueued is whole."""
    classes = 2 * len(MODALITIES) * network.num_labels
    whole = (queue_labels == queue_labels.round()) & (queue_labels >= 0) & (queue_labels < classes)
    return torch.where(whole, queue_labels, UNMATCHED).long().flatten()
