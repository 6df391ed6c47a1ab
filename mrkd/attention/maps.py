"""Compute attention in the last block.

Axes: B images, H heads, R x C patches, N = R C, r x c queries after pooling.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.data.augment.views import normalize
from mrkd.model.backbone import ViT, block_inputs, class_attention, patch_attention, run_block


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Attention of the class token over the patches."""

    heads: Tensor
    """(B, H, R, C) for each head; each grid sums to 1."""
    combined: Tensor
    """(B, R, C), the mean over heads."""


@torch.no_grad()
def last_block_attention(vit: ViT, images: Tensor) -> AttentionMaps:
    """Attention of the class token over the patches in the last block.

    Args:
        vit: a timm ViT with a class token.
        images: (B, 3, S, S) uint8, S a multiple of the patch size.
    Source:
        Caron et al., DINO, ICCV 2021 (arXiv:2104.14294), figure 1.
    """
    tokens, rotation, grid = _last_input(vit, images)
    heads = class_attention(vit.blocks[-1], tokens, rotation, vit.num_prefix_tokens).unflatten(-1, grid)
    return AttentionMaps(heads=heads, combined=heads.mean(dim=1))


@torch.no_grad()
def patch_maps(vit: ViT, images: Tensor, max_queries: int) -> Tensor:
    """Attention of each patch over the patches in the last block, pooled to at most `max_queries` queries.

    With more patches than that, squares of patches are pooled: the mean over queries, the sum over keys.

    Args:
        vit: a timm ViT.
        images: (B, 3, S, S) uint8, S a multiple of the patch size.
        max_queries: maximum of r c.
    Returns:
        (B, H, r c, r, c), each grid summing to 1.
    """
    tokens, rotation, (rows, columns) = _last_input(vit, images)
    weights = patch_attention(vit.blocks[-1], tokens, rotation, vit.num_prefix_tokens)  # (B, H, N, N)
    side = math.ceil(math.sqrt(rows * columns / max_queries))
    if side == 1:
        return weights.unflatten(-1, (rows, columns))
    by_key = _pooled(weights.transpose(-2, -1).unflatten(-1, (rows, columns)), side)  # (B, H, N, r, c)
    by_query = by_key.flatten(-2).transpose(-2, -1)  # (B, H, r c, N)
    maps = _pooled(by_query.unflatten(-1, (rows, columns)), side)
    return maps / maps.sum(dim=(-2, -1), keepdim=True)


def _pooled(maps: Tensor, side: int) -> Tensor:
    """Sum over squares of `side` x `side` patches, (..., R, C) -> (..., r, c); squares at the border may be smaller."""
    # With a divisor of 1, average pooling is a sum.
    sums = F.avg_pool2d(maps.flatten(0, -3)[:, None], side, ceil_mode=True, divisor_override=1)
    return sums.view(*maps.shape[:-2], *sums.shape[-2:])


def _last_input(vit: ViT, images: Tensor) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    """Input of the last block (B, prefix + N, D), its rotation, and the grid (R, C)."""
    embedded = vit.patch_embed(normalize(images))  # (B, R, C, D)
    tokens, rotations = block_inputs(vit, embedded)
    for block, rotation in zip(vit.blocks[:-1], rotations[:-1], strict=True):
        tokens = run_block(block, tokens, rotation)
    return tokens, rotations[-1], (embedded.shape[1], embedded.shape[2])


def mass_mask(attention: Tensor, mass: float) -> Tensor:
    """A mask of the fewest patches that together hold `mass` of the attention.

    Args:
        attention: (..., R, C), each grid summing to 1.
        mass: fraction in (0, 1].
    Returns:
        Same shape, bool.
    """
    flat = attention.flatten(-2)
    values, order = flat.sort(dim=-1, descending=True)
    # A patch is kept if the patches before it hold less than `mass`.
    kept = values.cumsum(dim=-1) - values < mass
    return torch.zeros_like(kept).scatter(-1, order, kept).view(attention.shape)
