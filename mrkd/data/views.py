"""Random views on the device, every image with its own parameters. Axes: V views, B images, S pixels."""

import math

import torch
from torch import Tensor

from mrkd.config import ViewsConfig
from mrkd.data import colours
from mrkd.data.warping import draw_placement, warp

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, which timm's models expect."""


def normalize(images: Tensor) -> Tensor:
    """uint8 or [0, 1] float images (..., 3, S, S) to standardised float32."""
    scaled = images.float() / 255.0 if images.dtype == torch.uint8 else images
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(3, 1, 1)
    return (scaled - mean) / std


class ViewMaker:
    """Draws global views, and local crops when there are any."""

    def __init__(self, config: ViewsConfig, size: int) -> None:
        self.config, self.size = config, size

    @torch.no_grad()
    def __call__(self, images: Tensor, views: int = 2) -> tuple[Tensor, Tensor | None]:
        """Normalised views (V, B, 3, S, S) and local crops (V_local, B, 3, s, s) of uint8 images (B, 3, S, S).

        Random numbers come from torch's global generator.
        """
        config, scaled = self.config, images.float() / 255.0
        local = None
        if config.local_views:
            local = self._draw(scaled, config.local_views, config.local_size, config.local_scale)
        return self._draw(scaled, views, self.size, config.crop_scale), local

    def _draw(self, scaled: Tensor, views: int, size: int, scale: tuple[float, float]) -> Tensor:
        config, shape = self.config, (views, len(scaled))
        placement = draw_placement(
            shape,
            scale=scale,
            ratio=config.crop_ratio,
            flip=config.flip,
            rotate_degrees=config.rotate_degrees,
            device=scaled.device,
        )
        cropped = warp(scaled, placement, size, rotated=config.rotate_degrees > 0).flatten(0, 1)
        return normalize(_recolour(cropped, config, size)).unflatten(0, shape)


def _recolour(images: Tensor, config: ViewsConfig, size: int) -> Tensor:
    """Jitter, grey and blur, each view with its own strength: one that does nothing where a view is not chosen."""
    drawn = torch.rand(8, len(images), device=images.device)
    jittered = drawn[0] < config.jitter

    def strength(row: int, spread: float, middle: float) -> Tensor:
        value = torch.full_like(drawn[row], middle)
        return torch.where(jittered, value + spread * (2 * drawn[row] - 1), value)

    jitters = [
        (config.brightness, lambda x: colours.brighten(x, strength(1, config.brightness, 1.0))),
        (config.contrast, lambda x: colours.contrast(x, strength(2, config.contrast, 1.0))),
        (config.saturation, lambda x: colours.saturate(x, strength(3, config.saturation, 1.0))),
        (config.hue, lambda x: colours.shift_hue(x, strength(4, config.hue, 0.0))),
    ]
    if config.jitter:
        for number in torch.randperm(len(jitters)).tolist():  # one order for the batch
            spread, change = jitters[number]
            if spread:
                images = change(images)
    if config.grey:
        images = colours.drop_colour(images, drawn[5] < config.grey)
    if config.blur:
        low, high = (sigma * size / 224 for sigma in config.blur_sigma)
        sigma = torch.where(drawn[6] < config.blur, low + (high - low) * drawn[7], torch.zeros_like(drawn[7]))
        images = colours.blur(images, sigma, math.ceil(2 * high))  # two standard deviations to each side
    return images
