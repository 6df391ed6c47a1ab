"""Attention of the class token in the last block. Axes: B images, H heads, R x C patches, N = R C."""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mrkd.data.views import normalize
from mrkd.model.backbone import class_attention


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Where the class token looks."""

    heads: Tensor
    """(B, H, R, C) attention per head over the patches, rows summing to 1 over the grid."""
    combined: Tensor
    """(B, R, C) mean over heads."""


@torch.no_grad()
def last_block_attention(vit: VisionTransformer, images: Tensor) -> AttentionMaps:
    """Attention of the class token over the patches in the last block.

    Args:
        vit: a timm ViT with a class token.
        images: (B, 3, S, S) uint8, S a multiple of the patch size.
    Source:
        Caron et al., DINO, ICCV 2021 (arXiv:2104.14294), figure 1.
    """
    embedded = vit.patch_embed(normalize(images))  # (B, R, C, D)
    rows, columns = embedded.shape[1:3]
    tokens = vit.norm_pre(vit._pos_embed(embedded))
    for block in vit.blocks[:-1]:
        tokens = block(tokens)
    heads = class_attention(vit.blocks[-1], tokens, vit.num_prefix_tokens).unflatten(-1, (rows, columns))
    return AttentionMaps(heads=heads, combined=heads.mean(dim=1))


def mass_mask(attention: Tensor, mass: float) -> Tensor:
    """The fewest patches that hold `mass` of the attention.

    Args:
        attention: (..., R, C), each grid summing to 1.
        mass: fraction in (0, 1].
    Returns:
        Same shape, bool.
    """
    flat = attention.flatten(-2)
    values, order = flat.sort(dim=-1, descending=True)
    # A patch is kept while the patches before it have not yet reached the mass.
    kept = values.cumsum(dim=-1) - values < mass
    return torch.zeros_like(kept).scatter(-1, order, kept).view(attention.shape)
