"""Frozen features of a backbone. Axes: n images, B of them in a batch, D width, S pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mrkd.data.augment.views import normalize
from mrkd.data.images import Images, in_order
from mrkd.errors import UserError
from mrkd.model.backbone import ViT
from mrkd.system.progress import QUIET_SECONDS, Bar

Tokens = Literal["cls", "patch-mean"]
"""What stands for an image: its class token, or the mean of its patch tokens."""


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
    """Images and what a backbone makes of them."""

    images: Images
    features: Tensor
    """(n, D) float32, on the images' device."""

    @property
    def classes(self) -> int:
        """Outputs of a classifier: one for every name."""
        return len(self.images.class_names)

    def labels(self, what_for: str) -> Tensor:
        """(n,) int64 class indices, or a UserError that says what needed them."""
        return self.images.require_labels(what_for)

    def __len__(self) -> int:
        return len(self.images)


def extract_features(
    vit: ViT, images: Images, *, batch: int | None = None, tokens: Tokens = "cls", title: str = "features"
) -> FeatureSet:
    """Features of all images that can be read; long work shows its progress under `title`.

    Args:
        vit: on the images' device.
        images: n of them.
        batch: images at a time; by default as `in_order` has it.
        tokens: what stands for an image.
        title: what is being done, for a person.
    Returns:
        The features and the images they are of: n, or fewer where streamed images turn out to be broken.
    Raises:
        UserError: too many of them are broken, or all.
    """
    return compute_features(
        images, lambda pixels: extract(vit, pixels, len(pixels), tokens), width=vit.embed_dim, batch=batch, title=title
    )


def compute_features(
    images: Images, function: Callable[[Tensor], Tensor], *, width: int, batch: int | None = None, title: str
) -> FeatureSet:
    """What `function` makes of all images that can be read: pixels (B, 3, S, S) uint8 -> features (B, width).

    Otherwise as `extract_features`.
    """
    features = torch.empty(len(images), width, device=images.device)
    found = []
    with Bar(title, len(images), quiet_seconds=QUIET_SECONDS) as bar:
        for rows, pixels in images.batches(in_order(images, batch)):
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
