"""Corruptions of images at the third of five strengths of CIFAR-10-C. Axes: B images, S pixels.

Source:
    Hendrycks and Dietterich, ICLR 2019 (arXiv:1903.12261). The blur, given for 32 pixels, grows with the image.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mrkd.data.augment import color
from mrkd.data.dataset import ImageDataset
from mrkd.evaluation.features import FeatureSet, compute_features, extract
from mrkd.model.backbone import ViT

NOISE_STD = 0.08
"""Of Gaussian noise on pixels in [0, 1]."""
BLUR_SIGMA = 0.7 / 32
"""Of the Gaussian blur, as a fraction of the side."""
JPEG_QUALITY = 58
CONTRAST = 0.4
"""Factor of the differences from each channel's mean."""
STRENGTHS = {
    "noise_std": NOISE_STD,
    "blur_sigma": f"{BLUR_SIGMA:.3f} of the side",
    "jpeg_quality": JPEG_QUALITY,
    "contrast": CONTRAST,
}
"""For the protocol."""


def add_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise."""
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return images + NOISE_STD * noise


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur, truncated at four standard deviations."""
    sigma = BLUR_SIGMA * images.shape[-1]
    return color.blur(images, images.new_full((len(images),), sigma), math.ceil(4 * sigma))


def compress(images: Tensor, generator: torch.Generator) -> Tensor:
    """Compression as JPEG, image by image on the CPU."""
    pixels = _to_bytes(images).permute(0, 2, 3, 1).cpu().numpy()
    decoded = []
    for one in pixels:
        buffer = io.BytesIO()
        Image.fromarray(one).save(buffer, "JPEG", quality=JPEG_QUALITY)
        decoded.append(np.asarray(Image.open(buffer)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(images.device) / 255.0


def lower_contrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Smaller differences from the mean of each channel."""
    return torch.lerp(images.mean(dim=(2, 3), keepdim=True), images, CONTRAST)


CORRUPTIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "noise": add_noise,
    "blur": blur,
    "jpeg": compress,
    "contrast": lower_contrast,
}
"""Functions from images (B, 3, S, S) in [0, 1] to such images, which may exceed [0, 1] a little."""


def corrupt(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Images (B, 3, S, S) uint8 with the corruption of this name, uint8 again."""
    return _to_bytes(CORRUPTIONS[name](images.float() / 255.0, generator))


def _to_bytes(images: Tensor) -> Tensor:
    return (255.0 * images).round().clamp(0, 255).to(torch.uint8)


def corrupted_features(vit: ViT, images: ImageDataset, name: str, *, seed: int) -> FeatureSet:
    """Class tokens of all images with one corruption; noise is the same for every network."""
    generator = torch.Generator().manual_seed(seed)
    return compute_features(
        images,
        lambda pixels: extract(vit, corrupt(pixels, name, generator), len(pixels)),
        width=vit.embed_dim,
        title=f"features with {name}",
    )
