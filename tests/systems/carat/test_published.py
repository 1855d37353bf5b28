from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmer.errors import InputError
from mmer.systems.carat.network import Carat
from mmer.systems.carat.published import (
    MODALITIES,
    from_published,
    published_names,
    read_published_checkpoint,
)
from mmer.systems.carat.settings import CaratNetwork
from mmer.systems.layers.contrast import UNMATCHED

GOLDEN = Path(__file__).parents[2] / "golden" / "carat"


@pytest.fixture
def published() -> dict[str, Tensor]:
    tensors = load_file(GOLDEN / "carat_aligned_6labels.safetensors")
    return {k.removeprefix("init."): v for k, v in tensors.items() if k.startswith("init.")}


@pytest.fixture
def network() -> Carat:
    settings = CaratNetwork(
        hidden=32,
        latent=16,
        heads=4,
        feed_forward=32,
        layers={"text": 2, "visual": 1, "audio": 1},
        max_length=12,
        queue=512,
    )
    return Carat(settings, {"text": 20, "visual": 10, "audio": 14}, 6)


def assert_same(network: Carat, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    network.load_state_dict(state)
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("pseudo", [None, 5])
def test_every_parameter_and_buffer_has_a_published_name(
    make_network: Callable, pseudo: int | None
) -> None:
    network = make_network(pseudo_aligned_length=pseudo)
    names = published_names(network.settings)
    ours_alone = {
        f"label_specific.{m}.input_norm.{s}" for m in MODALITIES for s in ("mean", "scale")
    }
    assert set(names) == set(network.state_dict()) - ours_alone
    theirs = [part for parts in names.values() for part in parts]
    assert len(theirs) == len(set(theirs))


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".safetensors"])
def test_checkpoint_files(
    published: dict[str, Tensor], network: Carat, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"pytorch_model{suffix}"
    if suffix == ".safetensors":
        save_file(published, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in published.items()}, path)
    state = read_published_checkpoint(path, network)
    assert_same(network, state, from_published(published, network))
    key = published["text.encoder.layer.1.attention.self.key.weight"]
    packed = network.label_specific["text"].encoder.layers[1].attention.qkv.weight
    assert torch.equal(packed[32:64], key)


def test_labels_of_the_random_queue_match_nothing(
    published: dict[str, Tensor], network: Carat
) -> None:
    published["queue_label"][:3, 0] = torch.tensor([0.0, 35.0, 36.0])
    classes = from_published(published, network)["queue.classes"]
    assert classes[:3].tolist() == [0, 35, UNMATCHED]
    assert (classes[3:] == UNMATCHED).all()


def test_missing_unknown_and_misshapen_are_named(
    published: dict[str, Tensor], network: Carat
) -> None:
    del published["tv2a.output.bias"], published["queue"]
    with pytest.raises(InputError, match=r"queue, tv2a\.output\.bias"):
        from_published(published, network)
    published |= {"tv2a.output.bias": torch.zeros(32), "queue": torch.zeros(512, 16)}
    published["ctc.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"ctc\.weight"):
        from_published(published, network)
    del published["ctc.weight"]
    published["proj_visual.output.weight"] = torch.zeros(16, 17)
    with pytest.raises(InputError, match=r"proj_visual\.output\.weight"):
        from_published(published, network)


def test_other_modalities_or_another_order(published: dict[str, Tensor], network: Carat) -> None:
    widths = dict(reversed(network.widths.items()))
    with pytest.raises(InputError, match="text, visual, audio, in this order"):
        from_published(published, Carat(network.settings, widths, 6))


def test_weights_start_as_published(published: dict[str, Tensor], network: Carat) -> None:
    """Same constants; same spread where a tensor is large enough to tell."""
    torch.manual_seed(0)
    fresh = Carat(network.settings, network.widths, 6).state_dict()
    theirs = from_published(published, network)
    for name, expected in theirs.items():
        if name.startswith("queue"):  # ours starts empty
            continue
        if expected.unique().numel() == 1:
            assert torch.equal(fresh[name], expected), name
        elif expected.numel() >= 500:
            assert fresh[name].std() == pytest.approx(expected.std().item(), rel=0.1), name


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_runs_no_code(
    published: dict[str, Tensor], network: Carat, tmp_path: Path
) -> None:
    path, target = tmp_path / "hostile.bin", tmp_path / "made by the checkpoint"
    torch.save({**published, "queue": _Attack(target)}, path)
    with pytest.raises(InputError, match=r"hostile\.bin"):
        read_published_checkpoint(path, network)
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_damaged_checkpoints(network: Carat, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"damaged{suffix}"
    with pytest.raises(InputError, match="no such file"):
        read_published_checkpoint(path, network)
    path.write_bytes(b"\x80\x02not a checkpoint")
    with pytest.raises(InputError, match="damaged"):
        read_published_checkpoint(path, network)
    torch.save([torch.zeros(1)], tmp_path / "list.bin")
    with pytest.raises(InputError, match="mapping"):
        read_published_checkpoint(tmp_path / "list.bin", network)
