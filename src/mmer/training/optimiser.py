"""The published programs' optimiser, "BertAdam", and its schedule.

It is AdamW without bias correction. AdamW whose step counter already stands at infinity has none
either, so torch's fused AdamW does the arithmetic; the clipping of each parameter is added here.
Nothing waits for the device.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mmer.training.settings import OptimiserSettings

# The largest count that float32 holds exactly; beta^count is 0 for any beta below 0.999999.
_ENDLESS_STEPS = float(1 << 24)


class BertAdam(torch.optim.AdamW):
    """Adam without bias correction, with decoupled weight decay and two clips.

    Parameters stay in the precision they have (float32 under autocast). What the settings say of
    the schedule is for `warmup_then_linear`.
    """

    def __init__(self, network: nn.Module, settings: OptimiserSettings) -> None:
        self.settings = settings
        # Each parameter, and of how many of the paper's it consists.
        self._parts = {
            parameter: getattr(module, "stacked", 1)
            for module in network.modules()
            for parameter in module.parameters(recurse=False)
        }
        decayed, exempt = decay_groups(network)
        super().__init__(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": exempt, "weight_decay": 0.0},
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
        """Clip the gradients and move the parameters."""
        overall, each = self.settings.gradient_norm, self.settings.parameter_gradient_norm
        nn.utils.clip_grad_norm_(list(self._parts), overall)
        if each < overall:  # else no part can be longer than the whole
            gradients = [
                part
                for parameter, count in self._parts.items()
                if parameter.grad is not None
                for part in parameter.grad.view(count, -1).unbind()
            ]
            norms = torch.stack(torch._foreach_norm(gradients))
            scales = norms.add_(1e-6).reciprocal_().mul_(each).clamp_(max=1)
            torch._foreach_mul_(gradients, list(scales.unbind()))
        super().step()


def warmup_then_linear(
    optimiser: torch.optim.Optimizer, warmup: float, total_steps: int
) -> LambdaLR:
    """Rises linearly over a share `warmup` of all steps, then falls to 0 linearly.

    The first step's rate is 0, as published, unless there is no warm-up.
    """
    return LambdaLR(optimiser, lambda step: share_of_peak(step / total_steps, warmup))


def share_of_peak(progress: float, warmup: float) -> float:
    """Share of the peak learning rate after a share `progress` of all steps."""
    if progress < warmup:
        return progress / warmup
    return max((progress - 1) / (warmup - 1), 0.0)


def decay_groups(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, and those that do not.

    Published: neither biases nor LayerNorms decay, but for one LayerNorm that goes by another name
    there; a module says `decays = True` to be like that one.
    """
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for module in network.modules():
        is_exempt_norm = isinstance(module, nn.LayerNorm) and not getattr(module, "decays", False)
        for name, parameter in module.named_parameters(recurse=False):
            (exempt if is_exempt_norm or "bias" in name else decayed).append(parameter)
    return decayed, exempt
