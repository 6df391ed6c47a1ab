"""Extract features of images with a frozen backbone. Axes: n images, B of them in a batch, D width, S pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mrkd.data.augment.views import normalize
from mrkd.data.dataset import ImageDataset, in_order, readable_batches
from mrkd.errors import UserError
from mrkd.model.backbone import ViT
from mrkd.system.progress import QUIET_SECONDS, Bar

Tokens = Literal["cls", "patch-mean"]
"""Feature of an image: its class token, or the mean of its patch tokens."""


@torch.no_grad()
def extract(vit: ViT, images: Tensor, batch: int = 512, tokens: Tokens = "cls") -> Tensor:
    """Features after the last norm, float32 (n, D), of uint8 images (n, 3, S, S) on the network's device."""
    was_training = vit.training
    vit.eval()
    features = [_pool(vit, vit.forward_features(normalize(part)), tokens).float() for part in images.split(batch)]
    vit.train(was_training)
    return torch.cat(features)


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Images and their features."""

    images: ImageDataset
    features: Tensor
    """(n, D) float32, on the images' device."""

    @property
    def classes(self) -> int:
        """Number of outputs of a classifier: one for each class name."""
        return len(self.images.class_names)

    def labels(self, what_for: str) -> Tensor:
        """(n,) int64 class indices. Raises UserError if there are none; the message names `what_for`."""
        return self.images.require_labels(what_for)

    def __len__(self) -> int:
        return len(self.images)


def extract_features(
    vit: ViT, images: ImageDataset, *, batch: int | None = None, tokens: Tokens = "cls", title: str = "features"
) -> FeatureSet:
    """Extract the features of all images that can be read; shows progress under `title`.

    Args:
        vit: the backbone, on the images' device.
        images: n images.
        batch: number of images at a time; None for the default of `in_order`.
        tokens: which tokens are the feature of an image.
        title: title of the progress bar.
    Returns:
        Features and images: n, or fewer if some streamed images are broken.
    Raises:
        UserError: all or too many of them are broken.
    """
    return compute_features(
        images, lambda pixels: extract(vit, pixels, len(pixels), tokens), width=vit.embed_dim, batch=batch, title=title
    )


def compute_features(
    images: ImageDataset, function: Callable[[Tensor], Tensor], *, width: int, batch: int | None = None, title: str
) -> FeatureSet:
    """What `function` makes of all images that can be read: pixels (B, 3, S, S) uint8 -> features (B, width).

    Otherwise as `extract_features`.
    """
    features = torch.empty(len(images), width, device=images.device)
    found = []
    with Bar(title, len(images), quiet_seconds=QUIET_SECONDS) as bar:
        for rows, pixels in readable_batches(images, in_order(images, batch)):
            features[rows] = function(pixels)
            found.append(rows)
            bar.advance("images", len(rows))
    if not found:
        raise UserError(f"none of the {len(images)} images can be read")
    rows = torch.cat(found)
    if len(rows) == len(images):
        return FeatureSet(images=images, features=features)
    return FeatureSet(images=images.take(rows), features=features[rows])


def _pool(vit: ViT, output: Tensor, tokens: Tokens) -> Tensor:
    """(B, prefix + N, D) -> (B, D)."""
    return output[:, 0] if tokens == "cls" else output[:, vit.num_prefix_tokens :].mean(dim=1)
