"""Patch features with object masks, and the score of a segmentation. Axes: n images, S pixels, N = R C patches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.config import ModelConfig
from mrkd.data.augment.views import normalize
from mrkd.data.dataset import ImageDataset, in_order, readable_batches
from mrkd.data.sources.splits import subset
from mrkd.model.backbone import ViT, create_vit, patch_grid

MOST_KNOWN = 20_000
"""Patches of training images, at most; whole images are chosen."""
MOST_ASKED = 200_000
"""Patches of test images, at most."""


@dataclass(frozen=True, kw_only=True)
class MaskedPatches:
    """Features of patches of images with object masks."""

    features: Tensor
    """(n, N, D) float32."""
    grid: tuple[int, int]
    """(R, C)."""
    masks: Tensor
    """(n, S, S) bool, True on the object."""

    @property
    def majority(self) -> Tensor:
        """(n, N) int64: 1 for a patch of which the object covers more than half."""
        covered = F.adaptive_avg_pool2d(self.masks[:, None].float(), self.grid)
        return (covered.flatten(1) > 0.5).long()

    def mean_iou(self, scores: Tensor) -> float:
        """Percent, of the scores (n N, 2) of background and object, interpolated to pixels.

        The intersection and the union are summed over all images, for object and for background; the mean of both.
        """
        margin = (scores[:, 1] - scores[:, 0]).view(len(self), 1, *self.grid)
        fine = F.interpolate(margin, size=self.masks.shape[-2:], mode="bilinear", align_corners=False)
        found, total = fine[:, 0] > 0, self.masks.numel()
        both, either = int((found & self.masks).sum()), int((found | self.masks).sum())
        neither = total - either
        return 100.0 * 0.5 * (_ratio(both, either) + _ratio(neither, total - both))

    def __len__(self) -> int:
        return len(self.features)


def _ratio(part: int, whole: int) -> float:
    """1 where there is nothing to find and nothing was found."""
    return part / whole if whole else 1.0


@torch.no_grad()
def chosen_patches(vit: ViT | None, images: ImageDataset, model: ModelConfig, most: int) -> MaskedPatches:
    """Patch features of as many images as have `most` patches, always the same ones; at least one.

    Args:
        vit: the backbone, on the images' device; None for raw pixels on the grid that a network of `model` has.
        images: n images with masks.
        model: describes the network.
        most: number of patches.
    """
    size = images.size
    grid = patch_grid(vit if vit is not None else create_vit(model, size), size)
    rows = subset(len(images), max(1, most // (grid[0] * grid[1]))).sort().values
    images = images.take(rows.to(images.device))
    assert images.masks is not None
    parts, found = [], []
    for index, pixels in readable_batches(images, in_order(images)):
        parts.append(_raw_patches(pixels, grid) if vit is None else _tokens(vit, pixels))
        found.append(index)
    read = torch.cat(found)
    return MaskedPatches(features=torch.cat(parts), grid=grid, masks=images.masks.to(read.device)[read])


def _tokens(vit: ViT, pixels: Tensor) -> Tensor:
    return vit.forward_features(normalize(pixels))[:, vit.num_prefix_tokens :].float()


def _raw_patches(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 3, S, S) uint8 -> (B, N, 3 p²)."""
    side = pixels.shape[-1] // grid[0]
    return F.unfold(normalize(pixels), side, stride=side).mT.contiguous()
