"""Random views, computed on the device with separate parameters for each image. Axes: V views, B images, S pixels."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mrkd.config import ViewsConfig
from mrkd.data.augment import color as colours
from mrkd.data.augment.geometry import Placement, draw_placement, warp
from mrkd.data.transfer import constant

GLOBAL_VIEWS = 2
"""Views of each image that both networks see."""
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, which timm's models expect."""


def normalize(images: Tensor) -> Tensor:
    """uint8 or [0, 1] float images (..., 3, S, S) to standardised float32."""
    scaled = images.float() / 255.0 if images.dtype == torch.uint8 else images
    mean, std = (constant(values, images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (scaled - mean) / std


def denormalize(images: Tensor) -> Tensor:
    """Images in uint8 for display: the inverse of `normalize`, up to rounding."""
    mean, std = (constant(values, images.device).view(3, 1, 1) for values in (MEAN, STD))
    return ((images * std + mean) * 255.0).round().clamp(0, 255).to(torch.uint8)


class ViewMaker:
    """Draws global views, and local crops if the config has any."""

    def __init__(self, config: ViewsConfig, size: int) -> None:
        self.config, self.size = config, size

    @torch.no_grad()
    def __call__(
        self, images: Tensor, views: int = GLOBAL_VIEWS, *, batch: int | None = None, first: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Normalised views (V, B, 3, S, S) and local crops (V_local, B, 3, s, s) of uint8 images (B, 3, S, S).

        Random numbers come from torch's global generator. With several devices they are drawn for the `batch` images of
        all of them, of which these are the ones from `first` on, so that the number of devices changes no view.
        """
        config, scaled = self.config, images.float() / 255.0
        part = (len(images) if batch is None else batch, first)
        local = None
        if config.local_views:
            local = self._draw(scaled, config.local_views, config.local_size, config.local_scale, part)
        return self._draw(scaled, views, self.size, config.crop_scale, part), local

    def _draw(self, scaled: Tensor, views: int, size: int, scale: tuple[float, float], part: tuple[int, int]) -> Tensor:
        config, shape = self.config, (views, part[0])
        own = slice(part[1], part[1] + len(scaled))
        placement = draw_placement(
            shape,
            scale=scale,
            ratio=config.crop_ratio,
            flip=config.flip,
            rotate_degrees=config.rotate_degrees,
            device=scaled.device,
        )
        changes = [
            (change, strengths.view(shape)[:, own].flatten())
            for change, strengths in _draw_changes(shape[0] * shape[1], config, size, scaled.device)
        ]
        placement = Placement(*(one[:, own] for one in placement))
        cropped = warp(scaled, placement, size, rotated=config.rotate_degrees > 0).flatten(0, 1)
        # On the CPU a few views at a time stay in the cache from one change to the next.
        rows = max(1, _CACHED_PIXELS // size**2) if scaled.device.type == "cpu" else len(cropped)
        parts = zip(cropped.split(rows), *(strengths.split(rows) for _, strengths in changes), strict=True)
        changed = [_change(part, changes, own) for part, *own in parts]
        return torch.cat(changed).unflatten(0, (views, len(scaled)))


_CACHED_PIXELS = 2**16
Change = tuple[Callable[[Tensor, Tensor], Tensor], Tensor]
"""A function of views (R, 3, S, S) and strengths (R,), and the strengths of all views."""


def _change(views: Tensor, changes: list[Change], own: list[Tensor]) -> Tensor:
    for (change, _), strengths in zip(changes, own, strict=True):
        views = change(views, strengths)
    return normalize(views)


def _random_order(count: int) -> list[int]:
    """A random order, drawn on the host, where it is needed."""
    return torch.randperm(count).tolist()


def _draw_changes(count: int, config: ViewsConfig, size: int, device: torch.device) -> list[Change]:
    """Draw the strengths of jitter, grey and blur; for a view that is not chosen, the strength has no effect."""
    drawn = torch.rand(8, count, device=device)
    jittered = drawn[0] < config.jitter

    def strengths(row: int, spread: float, middle: float) -> Tensor:
        return torch.where(jittered, middle + spread * (2 * drawn[row] - 1), middle)

    jitters: list[tuple[float, Change]] = [
        (config.brightness, (colours.brighten, strengths(1, config.brightness, 1.0))),
        (config.contrast, (colours.contrast, strengths(2, config.contrast, 1.0))),
        (config.saturation, (colours.saturate, strengths(3, config.saturation, 1.0))),
        (config.hue, (colours.shift_hue, strengths(4, config.hue, 0.0))),
    ]
    # One order for the batch.
    changes = [jitters[number][1] for number in _random_order(len(jitters)) if jitters[number][0] > 0]
    changes = changes if config.jitter else []
    if config.grey:
        changes.append((colours.drop_colour, drawn[5] < config.grey))
    if config.blur:
        low, high = (sigma * size / 224 for sigma in config.blur_sigma)
        sigma = torch.where(drawn[6] < config.blur, low + (high - low) * drawn[7], 0.0)
        radius = math.ceil(2 * high)  # two standard deviations to each side
        changes.append((lambda views, own: colours.blur(views, own, radius), sigma))
    return changes
