"""iBOT's projection head. Axes: R rows (tokens), D width, E bottleneck, K prototypes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrkd.config import HeadConfig
from mrkd.model.norm import GlobalBatchNorm1d
from mrkd.model.token_subset import padded_linear


class HeadOutput(NamedTuple):
    """Outputs of the head for R tokens."""

    projection: Tensor
    """(R, E) the last linear layer, before its normalisation."""
    bottleneck: Tensor
    """(R, E) after that normalisation, not of unit length."""
    logits: Tensor
    """(R, K) cosines with the prototypes."""


class _Linear(nn.Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return padded_linear(rows, self.weight, self.bias) if self.training else super().forward(rows)


class Head(nn.Module):
    """iBOT's head: an MLP to a bottleneck, L2 normalisation, and cosines with prototypes of unit length.

    An untrained ViT gives all images nearly the same token. BatchNorm subtracts the common part; without it, iBOT's
    losses learn much less in short trainings (docs/results/why-relations.md).

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
        # No scale or shift, so that the bottleneck cannot drift to a common vector.
        self.norm = GlobalBatchNorm1d(config.bottleneck, affine=False) if config.norm == "batch" else nn.Identity()
        self.prototypes = nn.Parameter(torch.empty(config.prototypes, config.bottleneck))
        # Only directions matter, but AdamW's steps have an absolute size: short vectors would turn by tens of degrees
        # per step, all towards the same direction, and outputs would become uniform.
        nn.init.normal_(self.prototypes)
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02 if config.norm == "none" else module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> HeadOutput:
        """Projection, bottleneck and logits of tokens (R, D)."""
        projection = self.mlp(tokens)
        bottleneck = self.norm(projection)
        directions, prototypes = F.normalize(bottleneck, dim=-1), F.normalize(self.prototypes, dim=-1)
        logits = padded_linear(directions, prototypes, None) if self.training else F.linear(directions, prototypes)
        return HeadOutput(projection, bottleneck, logits)


def head_predictor(config: HeadConfig) -> nn.Sequential:
    """BYOL's predictor (R, E) -> (R, E): one hidden layer, with BatchNorm if the head has it.

    Source:
        Grill et al., BYOL, NeurIPS 2020 (arXiv:2006.07733), section 3.3.
    """
    batch_norm = config.norm == "batch"
    return nn.Sequential(
        nn.Linear(config.bottleneck, config.hidden, bias=not batch_norm),
        GlobalBatchNorm1d(config.hidden) if batch_norm else nn.Identity(),
        nn.ReLU() if batch_norm else nn.GELU(),
        nn.Linear(config.hidden, config.bottleneck),
    )
