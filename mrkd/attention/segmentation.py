"""Overlap of attention masks with object masks. Axes: n images, H heads, M masses."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.attention.maps import last_block_attention, mass_mask
from mrkd.model.backbone import ViT

MASSES = tuple(number / 20 for number in range(1, 20))
"""Fractions of the attention that masks keep."""


def segmentation(vit: ViT, images: Tensor, objects: Tensor, scale: int) -> dict[str, Any]:
    """Mean Jaccard index between attention masks and objects, in percent, for each mass in `MASSES`.

    Args:
        vit: a timm ViT.
        images: (n, 3, S, S) uint8.
        objects: (n, S, S) bool.
        scale: factor by which images are enlarged first.
    Returns:
        combined: for each mass, the overlap of the mean over heads.
        best_head: for each mass, the overlap of the head with the highest mean over the images.
    Source:
        Caron et al., DINO, ICCV 2021 (arXiv:2104.14294), section 4.2.2: masks of 60 % of the mass.
    """
    by_image = []
    for part, truth in zip(images.split(64), objects.split(64), strict=True):
        maps = last_block_attention(vit, enlarge(part, scale))
        stacked = torch.cat([maps.combined[:, None], maps.heads], dim=1)  # (B, 1 + H, R, C)
        by_image.append(torch.stack([jaccard(mass_mask(stacked, mass), truth[:, None]) for mass in MASSES]))
    means = 100.0 * torch.cat(by_image, dim=1).mean(dim=1)  # (M, n, 1 + H) -> (M, 1 + H)
    return {"combined": means[:, 0].tolist(), "best_head": means[:, 1:].max(dim=1).values.tolist()}


def jaccard(kept: Tensor, objects: Tensor) -> Tensor:
    """Intersection over union, in pixels, of kept patches (..., R, C) and objects (..., S, S), as a fraction.

    Leading axes of `objects` may be 1. The value for two empty masks is 1.
    """
    pixels = F.interpolate(kept.flatten(0, -3)[:, None].float(), size=objects.shape[-2:], mode="nearest") > 0.5
    shown = pixels.view(*kept.shape[:-2], *objects.shape[-2:])
    union = (shown | objects).sum(dim=(-2, -1))
    both = (shown & objects).sum(dim=(-2, -1))
    return torch.where(union > 0, both / union.clamp(min=1), torch.ones_like(union, dtype=torch.float32))


def enlarge(images: Tensor, scale: int) -> Tensor:
    """Enlarge uint8 images (B, 3, S, S) to `scale` times their side."""
    larger = F.interpolate(images.float(), scale_factor=float(scale), mode="bicubic", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8)
