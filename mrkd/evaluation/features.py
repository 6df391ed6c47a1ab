"""Frozen features of a backbone. Axes: n images, D width."""

from typing import Literal

import torch
from torch import Tensor

from mrkd.data.views import normalize
from mrkd.model.backbone import ViT

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


def _pool(vit: ViT, output: Tensor, tokens: Tokens) -> Tensor:
    """(B, prefix + N, D) -> (B, D)."""
    return output[:, 0] if tokens == "cls" else output[:, vit.num_prefix_tokens :].mean(dim=1)
