"""Frozen features of a backbone. Axes: n images, D width."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mrkd.data.views import normalize


@torch.no_grad()
def extract(vit: VisionTransformer, images: Tensor, batch: int = 512) -> Tensor:
    """Class tokens after the last norm, float32 (n, D), of uint8 images (n, 3, S, S) on the network's device."""
    was_training = vit.training
    vit.eval()
    tokens = [vit.forward_features(normalize(part))[:, 0].float() for part in images.split(batch)]
    vit.train(was_training)
    return torch.cat(tokens)
