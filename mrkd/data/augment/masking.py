"""Draw masks: the patches that the student does not see.

Axes: V views, B images, N patches in a grid of R rows and C columns.
"""

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
    count = (ratio * patches).round().clamp(1 if high > 0 else 0, max(patches - 1, 0)).long()
    count = count * masked
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
