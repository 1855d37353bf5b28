from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmer.systems.layers.reconstruction import TwoLevelReconstruction


@pytest.mark.parametrize("modalities", [1, 2, 3, 5])
def test_both_levels_are_the_formula(modalities: int) -> None:
    torch.manual_seed(0)
    module = TwoLevelReconstruction(modalities, hidden=4)
    seen, pad = torch.randn(modalities, 2, 5, 4), torch.randn(modalities, 2, 5, 4)
    alpha = module.alpha(seen, pad)
    beta = module.beta(alpha)
    for m in range(modalities):
        weight, bias = module.rebuild.weight[m], module.rebuild.bias[m]
        sources = [pad[n] if n == m else seen[n] for n in range(modalities)]
        torch.testing.assert_close(alpha[m], F.linear(torch.cat(sources, dim=-1), weight, bias))
        both = torch.cat(list(alpha), dim=-1)
        torch.testing.assert_close(beta[m], F.linear(both, weight, bias))
