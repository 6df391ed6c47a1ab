"""Colour changes, each with its own strength for each image. Axes: R views of images, S pixels.

All take (R, 3, S, S) in [0, 1] and a strength (R,) and return the same shape; they are torchvision's formulas.
"""

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.data.transfer import constant

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601's luma."""


def grey(images: Tensor) -> Tensor:
    """The luma of each pixel, (R, 1, S, S)."""
    red, green, blue = images.unbind(1)
    return torch.add(red * GREY[0], green, alpha=GREY[1]).add_(blue, alpha=GREY[2])[:, None]


def brighten(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply all pixels of an image by its strength."""
    return (images * _each(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the differences from the image's mean luma."""
    mean = grey(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _each(factor)).clamp_(0, 1)


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the differences from each pixel's luma."""
    return torch.lerp(grey(images), images, _each(factor)).clamp_(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of HSV by a fraction of the full circle."""
    if images.device.type == "cpu" and find_spec("numba"):
        from mrkd.data.augment import views_cpu  # numba takes up to a second to import

        return views_cpu.shift_hue(images, turns)
    return shift_hue_anywhere(images, turns)


def shift_hue_anywhere(images: Tensor, turns: Tensor) -> Tensor:
    """`shift_hue` in plain torch, for any device."""
    red, green, blue = images.unbind(1)  # (R, S, S)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    inverse = 1.0 / chroma.clamp(min=1e-12)  # without colour the differences below are 0
    hue = torch.where(
        value == red,
        (green - blue) * inverse,
        torch.where(value == green, 2.0 + (blue - red) * inverse, 4.0 + (red - green) * inverse),
    )
    hue = hue + 6.0 * turns[:, None, None]
    # HSV back to RGB in one formula: value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + hue) mod 6.
    offsets = constant((5.0, 3.0, 1.0), hue.device).to(hue.dtype).view(3, 1, 1)
    k = (hue[:, None] + offsets).remainder_(6.0)  # (R, 3, S, S)
    return torch.addcmul(value[:, None], chroma[:, None], torch.minimum(k, 4.0 - k).clamp_(0, 1), value=-1.0)


def drop_colour(images: Tensor, chosen: Tensor) -> Tensor:
    """Replace the images where `chosen`, (R,) bool, by their luma."""
    return torch.where(_each(chosen), grey(images), images)


def blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur of `sigma` pixels, truncated at `radius` pixels; a sigma of 0 changes nothing."""
    distance = torch.arange(-radius, radius + 1, device=images.device)
    weights = torch.exp(-0.5 * (distance / sigma.clamp(min=1e-3)[:, None]).square())  # (R, 2 * radius + 1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    for padding, dim in (((0, 0, radius, radius), 2), ((radius, radius, 0, 0), 3)):
        padded, side = F.pad(images, padding, mode="reflect"), images.shape[dim]
        images = sum(  # type: ignore[assignment]
            padded.narrow(dim, shift, side) * _each(weights[:, shift]) for shift in range(2 * radius + 1)
        )
    return images


def _each(per_image: Tensor) -> Tensor:
    return per_image[:, None, None, None]
