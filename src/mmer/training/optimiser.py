"""The published program's optimiser, "BertAdam" (CARAT, "optimisation").

It is AdamW without bias correction. AdamW whose step counter already stands at infinity has none
either, so torch's fused AdamW does the arithmetic; clipping and schedule are added here. Nothing
waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mmer.errors import InputError
from mmer.models.feature_input import InputNorm

# The largest count that float32 holds exactly; beta^count is 0 for any beta below 0.999999.
_ENDLESS_STEPS = float(1 << 24)


@dataclass(frozen=True)
class OptimiserSettings:
    """Constants of the optimisation; the defaults are the published ones.

    Attributes:
        learning_rate: Peak, reached at the end of the warm-up.
        warmup: Share of all steps over which the rate rises linearly; it then falls to 0 linearly.
        weight_decay: Decoupled, per step times the learning rate.
        betas: Decay of the running means of the gradient and of its square.
        eps: Added to the root of the latter.
        gradient_norm: The gradient of all parameters together is clipped to this norm.
        parameter_gradient_norm: Then that of each parameter to this.

    Raises:
        InputError: A value is outside its range.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    gradient_norm: float = 1.0
    parameter_gradient_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "eps", "gradient_norm", "parameter_gradient_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError("optimiser settings", name, "above 0", getattr(self, name))
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError("optimiser settings", "weight_decay", ">= 0", self.weight_decay)
        if not 0 <= self.warmup < 1:
            raise InputError("optimiser settings", "warmup", "in [0, 1)", self.warmup)
        for beta in self.betas:
            if not 0 <= beta <= 0.99999:
                raise InputError("optimiser settings", "betas", "in [0, 0.99999]", beta)


class BertAdam(torch.optim.AdamW):
    """Adam without bias correction, with decoupled weight decay, two clips and a schedule.

    Parameters stay in the precision they have (float32 under autocast). `state_dict` holds all that
    is needed to go on bit for bit, the schedule's step included.

    Args:
        network: Whose parameters are trained.
        settings: Constants.
        total_steps: Steps over which the schedule runs; after them the learning rate is 0.
    """

    def __init__(self, network: nn.Module, settings: OptimiserSettings, total_steps: int) -> None:
        if total_steps < 1:
            raise InputError("optimiser", "total_steps", "at least 1", total_steps)
        self.settings = settings
        self._parts = dict(_parts(network))
        decayed, exempt = decay_groups(network)
        progress = {"scheduled_steps": 0, "total_steps": total_steps}
        super().__init__(
            [
                {"params": decayed, "weight_decay": settings.weight_decay, **progress},
                {"params": exempt, "weight_decay": 0.0, **progress},
            ],
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            fused=True,
        )
        for parameter in self._parts:
            self.state[parameter] = {
                "step": torch.full((), _ENDLESS_STEPS, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Clip the gradients, move the parameters, advance the schedule."""
        self._clip()
        for group in self.param_groups:
            group["lr"] = self.settings.learning_rate * schedule(
                group["scheduled_steps"] / group["total_steps"], self.settings.warmup
            )
            group["scheduled_steps"] += 1
        super().step()

    def _clip(self) -> None:
        overall, each = self.settings.gradient_norm, self.settings.parameter_gradient_norm
        nn.utils.clip_grad_norm_(list(self._parts), overall)
        if each >= overall:  # no part can be longer than the whole
            return
        gradients = [
            part
            for parameter, count in self._parts.items()
            if parameter.grad is not None
            for part in parameter.grad.view(count, -1).unbind()
        ]
        scales = torch.stack(torch._foreach_norm(gradients)).add_(1e-6).reciprocal_().mul_(each)
        torch._foreach_mul_(gradients, list(scales.clamp_(max=1).unbind()))


def schedule(progress: float, warmup: float) -> float:
    """Share of the peak learning rate after a share `progress` of all steps."""
    if progress < warmup:
        return progress / warmup
    return max((progress - 1) / (warmup - 1), 0.0)


def decay_groups(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, and those that do not.

    Published: neither biases nor the encoders' LayerNorms decay; the scale of the LayerNorm over
    raw features does, because it goes by another name there.
    """
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for module in network.modules():
        is_exempt_norm = isinstance(module, nn.LayerNorm) and not isinstance(module, InputNorm)
        for name, parameter in module.named_parameters(recurse=False):
            (exempt if is_exempt_norm or "bias" in name else decayed).append(parameter)
    return decayed, exempt


def _parts(network: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Each parameter, and of how many of the paper's it consists (see `models.stacked`)."""
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            yield parameter, getattr(module, "stacked", 1)
