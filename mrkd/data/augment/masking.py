"""Draw masks: the patches that the student does not see.

Axes: V views, B images, N patches in a grid of R rows and C columns.
"""

import math

import torch
from torch import Tensor

from mrkd.config import MaskConfig


def draw_masks(shape: tuple[int, int], grid: tuple[int, int], config: MaskConfig, generator: torch.Generator) -> Tensor:
    """One mask for each image and view, each with its own ratio of masked patches.

    Args:
        shape: (V, B).
        grid: (R, C) patches.
        config: kind, ratio range and probability of being masked at all.
        generator: on the CPU; masks are small and drawing them there costs no synchronisation.
    Returns:
        (V, B, N) bool, True = masked; a masked view has at least one masked and one visible patch.
    Source:
        Kind `blocks`: Zhou et al., iBOT, ICLR 2022 (arXiv:2111.07832), as drawn by the authors' code, which follows Bao
        et al., BEiT, ICLR 2022 (arXiv:2106.08254), algorithm 1.
    """
    views, images = shape
    patches = grid[0] * grid[1]
    low, high = config.ratio
    if config.even:
        ratio, masked = _evenly_dealt((views, images), config.probability, generator)
    else:
        ratio = torch.rand(views, images, generator=generator)
        masked = torch.rand(views, images, generator=generator) < config.probability
    ratio = low + (high - low) * ratio
    most, least = max(patches - 1, 0), min(patches - 1, 1) if high > 0 else 0
    if config.kind == "blocks":
        area = (ratio * patches).clamp(least, most) * masked
        return _several_blocks(area.flatten(), grid, generator).unflatten(0, shape)
    count = (ratio * patches).round().clamp(least, most).long() * masked
    if config.kind == "random":
        priority = torch.rand(views, images, patches, generator=generator)
    else:
        priority = _block_priority((views, images), grid, generator)
    # Ranking the priorities and keeping the `count` highest gives the exact ratio without a loop over images.
    rank = priority.argsort(dim=-1, descending=True).argsort(dim=-1)
    return rank < count[..., None]


def _evenly_dealt(shape: tuple[int, int], probability: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(V, B) numbers in [0, 1] and which views are masked: the same of both in every step, dealt at random."""
    views = shape[0] * shape[1]
    masked = round(probability * views)
    spread = (torch.arange(views) + 0.5).div(max(masked, 1)).clamp(max=1.0)
    order = torch.randperm(views, generator=generator)
    return spread[order].view(shape), (order < masked).view(shape)


_ATTEMPTS = 10
"""Number of rectangles that are tried in a row before a mask is left as it is, as in iBOT."""
_ASPECT = (0.3, 1 / 0.3)
"""Range of a rectangle's height over width in iBOT."""


def _several_blocks(area: Tensor, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(I, N) masks of I views: rectangles are added until `area` (I,) patches are masked or none fits any more.

    All views whose masks are not finished draw their next rectangle together.
    """
    rows, columns = (torch.arange(side) for side in grid)
    mask = torch.zeros(len(area), *grid, dtype=torch.bool)
    attempts = torch.full((len(area),), _ATTEMPTS)
    while True:
        left = area - mask.sum(dim=(1, 2))
        open_views = ((left > 0) & (attempts > 0)).nonzero().flatten()
        if len(open_views) == 0:
            break
        left = left[open_views]
        top, bottom, first, last = _draw_rectangles(left, grid, generator)
        inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= first) & (columns < last))[:, None, :]
        union = mask[open_views] | inside
        added = (union & ~mask[open_views]).sum(dim=(1, 2))
        fits = (added > 0) & (added <= left) & (bottom - top < grid[0])[:, 0] & (last - first < grid[1])[:, 0]
        mask[open_views[fits]] = union[fits]
        attempts[open_views] = torch.where(fits, _ATTEMPTS, attempts[open_views] - 1)
    mask = mask.flatten(1)
    none = ((area > 0) & ~mask.any(dim=1)).nonzero().flatten()
    mask[none, torch.randint(mask.shape[1], (len(none),), generator=generator)] = True
    return mask


def _draw_rectangles(area: Tensor, grid: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Top, bottom, first and last column + 1, each (I, 1), of a random rectangle for each view of (I,) free patches."""
    height, width = grid
    smallest = float((min(grid) // 3) ** 2)
    size, place, shift, log_aspect = torch.rand(4, len(area), 1, generator=generator)
    target = smallest + size * (area[:, None] - smallest)
    low, high = (math.log(bound) for bound in _ASPECT)
    aspect = torch.exp(low + (high - low) * log_aspect)
    tall = (target * aspect).sqrt().round().clamp(max=height)
    wide = (target / aspect).sqrt().round().clamp(max=width)
    top = (place * (height - tall + 1)).floor()
    first = (shift * (width - wide + 1)).floor()
    return top, top + tall, first, first + wide


def _block_priority(shape: tuple[int, int], grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(V, B, N) priorities that fall with distance from a random centre, stretched to a random aspect ratio."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in grid)
    center = torch.rand(*shape, 2, generator=generator) * torch.tensor([grid[0] - 1.0, grid[1] - 1.0])
    log_aspect = (torch.rand(*shape, generator=generator) * 2 - 1) * 1.2
    stretch = torch.exp(0.5 * log_aspect)[..., None, None]
    vertical = (rows[:, None] - center[..., 0, None, None]).abs() * stretch
    horizontal = (columns[None, :] - center[..., 1, None, None]).abs() / stretch
    # The larger of the two distances makes the region a rectangle; the noise only breaks ties.
    distance = torch.maximum(vertical, horizontal).flatten(-2)
    return -distance - 1e-3 * torch.rand(distance.shape, generator=generator)
