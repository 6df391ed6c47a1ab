"""Attention of the class token in the last block. Axes: B images, H heads, R x C patches, N = R C."""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mrkd.data.views import normalize


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

    The last block's weights are recomputed from its queries and keys, because fused attention never forms them.

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
    last = vit.blocks[-1]
    attention = last.attn
    inputs = last.norm1(tokens)
    batch, length, _ = inputs.shape
    qkv = attention.qkv(inputs).reshape(batch, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])  # (B, H, 1 + N, D / H)
    weights = (query[:, :, :1] * attention.scale @ key.transpose(-2, -1)).softmax(dim=-1)[:, :, 0]
    patches = weights[:, :, vit.num_prefix_tokens :]
    patches = patches / patches.sum(dim=-1, keepdim=True)
    heads = patches.unflatten(-1, (rows, columns))
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
