from __future__ import annotations

import torch
from torch.nn import functional as F

from mmer.models.reconstruction import TwoLevelReconstruction


def test_both_levels_are_the_formula() -> None:
    torch.manual_seed(0)
    module = TwoLevelReconstruction(modalities=3, hidden=4)
    seen, stand_in = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 4)
    alpha = module.alpha(seen, stand_in)
    beta = module.beta(alpha)
    for m in range(3):
        weight, bias = module.rebuild.weight[m], module.rebuild.bias[m]
        sources = [stand_in[k] if k == m else seen[k] for k in range(3)]
        torch.testing.assert_close(alpha[m], F.linear(torch.cat(sources, dim=-1), weight, bias))
        both = torch.cat(list(alpha), dim=-1)
        torch.testing.assert_close(beta[m], F.linear(both, weight, bias))
