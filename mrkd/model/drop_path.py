"""Stochastic depth with its rate in a tensor, so that torch.compile compiles blocks of different rates only once."""

import torch
from torch import Tensor, nn


class TensorDropPath(nn.Module):
    """Drop a residual branch for random images, and scale up the others.

    Args:
        rate: the probability of dropping, below 1.

    Source:
        Huang et al., Deep Networks with Stochastic Depth, ECCV 2016 (arXiv:1603.09382).
    """

    keep: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.register_buffer("keep", torch.tensor(1.0 - rate), persistent=False)

    def forward(self, branch: Tensor) -> Tensor:
        """The branch (B, ...), zero for dropped images."""
        if not self.training:
            return branch
        shape = (len(branch),) + (1,) * (branch.ndim - 1)
        kept = torch.rand(shape, device=branch.device) < self.keep
        return branch * (kept / self.keep).to(branch.dtype)


def use_tensor_rates(block: nn.Module) -> None:
    """Replace both drop paths of a timm block by tensor ones; an absent one gets rate 0."""
    for name in ("drop_path1", "drop_path2"):
        rate = getattr(getattr(block, name), "drop_prob", 0.0) or 0.0
        setattr(block, name, TensorDropPath(rate))
