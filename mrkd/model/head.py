"""iBOT's projection head. Axes: R rows (tokens), D width, E bottleneck, K prototypes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrkd.config import HeadConfig
from mrkd.model.norm import GlobalBatchNorm1d
from mrkd.model.token_subset import padded_linear


class HeadOutput(NamedTuple):
    """What the head makes of R tokens."""

    projection: Tensor
    """(R, E) the last linear layer, before its normalisation."""
    bottleneck: Tensor
    """(R, E) after it, not of unit length."""
    logits: Tensor
    """(R, K) cosines with the prototypes."""


class _Linear(nn.Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return padded_linear(rows, self.weight, self.bias) if self.training else super().forward(rows)


class Head(nn.Module):
    """MLP to a bottleneck, L2 normalisation, cosines with unit prototypes.

    A fresh ViT gives every image nearly the same token. Through an MLP without normalisation all cosines are then
    equal and the cross-entropy starts on a plateau; BatchNorm subtracts the common part and leaves the differences.

    Source:
        Caron et al., DINO, ICCV 2021 (arXiv:2104.14294), appendix C; BatchNorm as in BYOL and MoCo v3.
    """

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        sizes = [width] + [config.hidden] * (config.layers - 1) + [config.bottleneck]
        layers: list[nn.Module] = []
        for index in range(config.layers):
            last = index == config.layers - 1
            batch_norm = config.norm == "batch"
            layers.append(_Linear(sizes[index], sizes[index + 1], bias=not batch_norm))
            if not last:
                if batch_norm:
                    layers.append(GlobalBatchNorm1d(sizes[index + 1]))
                layers.append(nn.ReLU() if batch_norm else nn.GELU())
        self.mlp = nn.Sequential(*layers)
        # Without scale or shift: the bottleneck itself must not drift to a common vector.
        self.norm = GlobalBatchNorm1d(config.bottleneck, affine=False) if config.norm == "batch" else nn.Identity()
        self.prototypes = nn.Parameter(torch.empty(config.prototypes, config.bottleneck))
        # Only directions matter, but AdamW's steps are absolute: short vectors would be turned by tens of degrees a
        # step, all towards one direction, and leave uniform outputs.
        nn.init.normal_(self.prototypes)
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02 if config.norm == "none" else module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> HeadOutput:
        """All three stages for tokens (R, D)."""
        projection = self.mlp(tokens)
        bottleneck = self.norm(projection)
        directions, prototypes = F.normalize(bottleneck, dim=-1), F.normalize(self.prototypes, dim=-1)
        logits = padded_linear(directions, prototypes, None) if self.training else F.linear(directions, prototypes)
        return HeadOutput(projection, bottleneck, logits)
