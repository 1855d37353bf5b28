from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mmer.systems.carat.network import Carat
from mmer.systems.carat.published import published_names
from mmer.systems.carat.settings import CaratNetwork
from mmer.training.optimiser import (
    BertAdam,
    decay_groups,
    share_of_peak,
    warmup_then_linear,
)
from mmer.training.settings import OptimiserSettings

WIDTHS = {"text": 3, "visual": 4, "audio": 5}


def network(seed: int = 0) -> Carat:
    torch.manual_seed(seed)
    settings = CaratNetwork(
        hidden=8,
        latent=4,
        heads=2,
        feed_forward=8,
        layers=dict.fromkeys(WIDTHS, 1),
        max_length=6,
        pseudo_aligned_length=4,
        queue=16,
    )
    return Carat(settings, WIDTHS, 2)


def parts(network: Carat, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Under the published names, one by one."""
    for ours, theirs in published_names(network.settings).items():
        if ours in tensors:
            yield from zip(theirs, tensors[ours].view(len(theirs), -1), strict=True)


def set_gradients(network: nn.Module, seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for place, parameter in enumerate(network.parameters()):
        draw = torch.randn(parameter.shape, generator=generator)
        parameter.grad = draw * scale * 10.0 ** (place % 4 - 3)


class SlowBertAdam:
    """The published update, parameter by parameter under the published names, in float64."""

    def __init__(self, network: Carat, settings: OptimiserSettings, total: int) -> None:
        self.network, self.settings, self.total, self.steps = network, settings, total, 0
        named = dict(parts(network, dict(network.named_parameters())))
        self.values = {name: p.detach().double().clone() for name, p in named.items()}
        self.first = {name: torch.zeros_like(p) for name, p in self.values.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.values.items()}

    def step(self) -> None:
        s = self.settings
        rate = s.learning_rate * share_of_peak(self.steps / self.total, s.warmup)
        self.steps += 1
        found = {name: p.grad.double() for name, p in self.network.named_parameters()}
        gradients = dict(parts(self.network, found))
        length = torch.cat(list(gradients.values())).norm()
        for name, gradient in gradients.items():
            gradient = gradient * min(1.0, s.gradient_norm / (length.item() + 1e-6))
            own = gradient.norm().item()
            gradient = gradient * min(1.0, s.parameter_gradient_norm / (own + 1e-6))
            self.first[name] = s.betas[0] * self.first[name] + (1 - s.betas[0]) * gradient
            self.second[name] = s.betas[1] * self.second[name] + (1 - s.betas[1]) * gradient**2
            update = self.first[name] / (self.second[name].sqrt() + s.eps)
            if not any(kind in name for kind in ("bias", "LayerNorm.bias", "LayerNorm.weight")):
                update = update + s.weight_decay * self.values[name]
            self.values[name] = self.values[name] - rate * update


@pytest.mark.parametrize(
    ("gradient_norm", "parameter_norm", "scale"),
    [(1.0, 1.0, 1.0), (1.0, 1.0, 1e-5), (5.0, 0.3, 10.0), (1e6, 0.5, 1.0), (0.5, 1e6, 1.0)],
)
def test_update_is_the_published_one(
    gradient_norm: float, parameter_norm: float, scale: float
) -> None:
    settings = OptimiserSettings(
        learning_rate=1e-2,
        weight_decay=0.1,
        gradient_norm=gradient_norm,
        parameter_gradient_norm=parameter_norm,
    )
    trained = network()
    slow = SlowBertAdam(trained, settings, 10)
    optimiser = BertAdam(trained, settings)
    schedule = warmup_then_linear(optimiser, settings.warmup, 10)
    for seed in range(6):
        set_gradients(trained, seed, scale)
        slow.step()
        optimiser.step()
        schedule.step()
    for name, value in parts(trained, dict(trained.named_parameters())):
        torch.testing.assert_close(
            value.detach().double(), slow.values[name], atol=1e-6, rtol=1e-5, msg=name
        )


def test_decay_follows_the_published_names() -> None:
    trained = network()
    decayed = {id(p) for p in decay_groups(trained)[0]}
    published = published_names(trained.settings)
    for name, parameter in trained.named_parameters():
        for part in published[name]:
            exempt = any(kind in part for kind in ("bias", "LayerNorm.weight"))
            assert (id(parameter) in decayed) != exempt, part
    assert sum(map(len, decay_groups(trained))) == len(list(trained.parameters()))


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0), (1.5, 0.0)],
)
def test_schedule(progress: float, expected: float) -> None:
    assert share_of_peak(progress, 0.1) == pytest.approx(expected)


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert share_of_peak(0.0, 0.0) == 1.0


def test_the_first_step_has_no_rate() -> None:
    trained = network()
    before = copy.deepcopy(trained.state_dict())
    optimiser = BertAdam(trained, OptimiserSettings(learning_rate=1.0))
    warmup_then_linear(optimiser, 0.1, 10)
    set_gradients(trained, 0)
    optimiser.step()
    assert all(torch.equal(x, before[name]) for name, x in trained.state_dict().items())


def test_parameters_without_a_gradient_stay() -> None:
    trained = network()
    optimiser = BertAdam(trained, OptimiserSettings(learning_rate=1.0))
    set_gradients(trained, 0)
    trained.heads.weight.grad = None
    before = trained.heads.weight.detach().clone()
    optimiser.step()
    assert torch.equal(trained.heads.weight, before)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.0},
        {"warmup": 1.0},
        {"weight_decay": -1.0},
        {"betas": (0.9, 1.0)},
        {"eps": 0.0},
        {"gradient_norm": 0.0},
        {"parameter_gradient_norm": float("inf")},
    ],
)
def test_impossible_settings_are_refused_by_name(changes: dict) -> None:
    with pytest.raises(ValidationError) as error:
        OptimiserSettings(**changes)
    assert error.value.errors()[0]["loc"][0] == next(iter(changes))
