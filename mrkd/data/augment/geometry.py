"""Crop, rotation and flip as one interpolation. Axes: B images, V views of each, S side of a view.

Coordinates run from -1 at the left or top edge of an image to 1 at the other, as in `torch.nn.functional.grid_sample`.
"""

import functools
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TRIES = 10
"""Areas and shapes drawn for each crop; the first that lies within the image is taken, as torchvision does."""


class Placement(NamedTuple):
    """The part of its image that each view shows; every field is (V, B)."""

    center_x: Tensor
    center_y: Tensor
    half_width: Tensor
    """Negative for a flipped view."""
    half_height: Tensor
    angle: Tensor
    """Radians, counter-clockwise."""


def draw_placement(
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    rotate_degrees: float,
    device: torch.device,
) -> Placement:
    """Random crops of images of unit area, with random numbers from torch's global generator.

    Args:
        shape: (V, B).
        scale: range of a crop's area, uniform.
        ratio: range of width over height, uniform in its logarithm.
        flip: probability.
        rotate_degrees: rotations are uniform between plus and minus this.
        device: where to draw.
    """
    drawn = torch.rand(2 * TRIES + 4, *shape, device=device)
    area = scale[0] + (scale[1] - scale[0]) * drawn[:TRIES]
    low, high = _log_range(ratio)
    log_ratio = low + (high - low) * drawn[TRIES : 2 * TRIES]
    width, height = (area * log_ratio.exp()).sqrt(), (area / log_ratio.exp()).sqrt()
    fits = (width <= 1) & (height <= 1)
    # The first that fits; the first of all when none does, cut to the image.
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    half_width, half_height = (side.gather(0, first)[0].clamp(max=1.0) for side in (width, height))
    left, top, flipped, turn = drawn[2 * TRIES :]
    return Placement(
        center_x=(2 * left - 1) * (1 - half_width),
        center_y=(2 * top - 1) * (1 - half_height),
        half_width=torch.where(flipped < flip, -half_width, half_width),
        half_height=half_height,
        angle=torch.deg2rad((2 * turn - 1) * rotate_degrees),
    )


@functools.cache
def _log_range(ratio: tuple[float, float]) -> tuple[float, float]:
    low, high = torch.tensor(ratio, dtype=torch.float64).log().tolist()
    return low, high


def warp(images: Tensor, placement: Placement, size: int, *, rotated: bool) -> Tensor:
    """Views (V, B, C, S, S) of images (B, C, H, W), bilinear.

    Args:
        images: what the views are of.
        placement: where they lie. A rotated view shows what is beyond the corners of its crop, where the image goes on.
        size: S.
        rotated: whether any angle differs from 0; what a rotation brings in from outside its image becomes 0.
    """
    if not rotated and images.device.type == "cpu" and find_spec("numba"):
        return _crop_on_cpu(images, placement, size)
    return warp_anywhere(images, placement, size, rotated=rotated)


def warp_anywhere(images: Tensor, placement: Placement, size: int, *, rotated: bool) -> Tensor:
    """`warp` in plain torch, for any device."""
    views = len(placement.angle)
    grid = _grid(placement, size)  # (V, B, S, S, 2)
    # All views of an image in one call, one below the other, so that no image is repeated.
    stacked = grid.transpose(0, 1).flatten(1, 2)  # (B, V * S, S, 2)
    # 'border' goes on with the outermost pixel's colour for the half pixel between its centre and the edge.
    if images.device.type == "mps":
        stacked = clamped_to_pixels(stacked, images.shape[2], images.shape[3])
    sampled = F.grid_sample(images, stacked, mode="bilinear", padding_mode="border", align_corners=False)
    result = sampled.unflatten(2, (views, size)).permute(2, 0, 1, 3, 4)  # (B, C, V * S, S) -> (V, B, C, S, S)
    if rotated:
        result = result * (grid.abs().amax(dim=-1) <= 1.0)[:, :, None]
    return result


def clamped_to_pixels(grid: Tensor, height: int, width: int) -> Tensor:
    """A sampling grid (..., x and y) that stays between the centres of the outermost pixels of an image.

    That is what 'border' means, so every padding mode then gives the same; Apple's GPUs do something else beyond it.
    """
    x, y = grid.unbind(dim=-1)
    x, y = (side.clamp(1.0 / pixels - 1.0, 1.0 - 1.0 / pixels) for side, pixels in ((x, width), (y, height)))
    return torch.stack([x, y], dim=-1)


def _crop_on_cpu(images: Tensor, placement: Placement, size: int) -> Tensor:
    # numba takes up to a second to import, and need not be installed.
    from mrkd.data.augment.views_cpu import crop

    height, width = images.shape[2:]

    def line(center: Tensor, half: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
        # From [-1, 1] between edges to pixels between centres; the view's first pixel has its centre half a step in.
        return (center + half * (1.0 / size - 1.0) + 1.0) * (pixels / 2) - 0.5, half * (pixels / size)

    columns = line(placement.center_x, placement.half_width, width)
    return crop(images, columns, line(placement.center_y, placement.half_height, height), size)


def _grid(placement: Placement, size: int) -> Tensor:
    """The source coordinates of each pixel of each view: (V, B, S, S, 2), x before y."""
    centers = (torch.arange(size, device=placement.angle.device) * 2 + 1.0) / size - 1.0
    x, y = centers[None, :], centers[:, None]
    center_x, center_y, half_width, half_height, angle = (one[..., None, None] for one in placement)
    cosine, sine = angle.cos(), angle.sin()
    # The view is turned about its own centre, then stretched to the crop.
    return torch.stack(
        [
            center_x + half_width * (cosine * x - sine * y),
            center_y + half_height * (sine * x + cosine * y),
        ],
        dim=-1,
    )
