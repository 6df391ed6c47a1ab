"""Attention of a run's backbone on images of one's own. Axes: n images, H heads, R x C patches, S pixels."""

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mrkd.attention.figure import attention_figure
from mrkd.attention.maps import AttentionMaps, last_block_attention, mass_mask
from mrkd.attention.segmentation import enlarge
from mrkd.data.sources.memory import Images, hold_in_memory
from mrkd.errors import UserError
from mrkd.runs.weights import load_backbone, open_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 64
"""Images at a time."""


@dataclass(frozen=True, kw_only=True)
class ImageAttention:
    """Attention of the class token over the patches in the last block."""

    images: np.ndarray
    """(n, S, S, 3) uint8, as the network saw them before they were enlarged."""
    heads: np.ndarray
    """(n, H, R, C) float32 for each head; each grid sums to 1."""
    combined: np.ndarray
    """(n, R, C) float32, the mean over heads."""
    mask: np.ndarray
    """(n, R, C) bool, the fewest patches that together hold `mass` of the attention."""
    mass: float
    """Fraction in (0, 1]."""
    title: str

    def figure(self) -> "Figure":
        """A matplotlib figure: a row for each image with its heads, their mean and the mask."""
        maps = AttentionMaps(heads=torch.from_numpy(self.heads), combined=torch.from_numpy(self.combined))
        return attention_figure(torch.from_numpy(self.images).permute(0, 3, 1, 2), maps, self.mass, self.title)

    def _repr_png_(self) -> bytes:
        """The figure, for notebooks."""
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png")
        return buffer.getvalue()


def attention_of(
    run_path: str | os.PathLike[str], images: Images, *, mass: float | None = None, checkpoint: str = "backbone"
) -> ImageAttention:
    """Attention of a run's teacher backbone on images; each is enlarged `attention.scale` times first.

    Args:
        run_path: a directory written by `pretrain`.
        images: n images, at most 64: the path of an image file, a PIL image, an array (H, W, 3) or (n, H, W, 3), a
            tensor (3, H, W) or (n, 3, H, W), a list of these, or a torch data set.
        mass: fraction of the attention that the mask holds; `attention.mass` of the run when None.
        checkpoint: `backbone`, the result of the training; `best`, `last` or a step for one of its checkpoints.
    Raises:
        UserError: no such run or checkpoint, something that is no image, or more than 64 images.
    """
    run = open_run(run_path, checkpoint)
    config = run.config()
    mass = config.attention.mass if mass is None else mass
    if not 0 < mass <= 1:
        raise UserError(f"mass must be above 0 and at most 1, got {mass}")
    pixels = hold_in_memory(images, config.data).pixels
    if len(pixels) > MOST:
        raise UserError(f"attention is computed for at most {MOST} images at a time, got {len(pixels)}: give some")
    enlarged = enlarge(torch.from_numpy(pixels).permute(0, 3, 1, 2), config.attention.scale)
    maps = last_block_attention(load_backbone(run, checkpoint), enlarged)
    return ImageAttention(
        images=pixels,
        heads=maps.heads.numpy(),
        combined=maps.combined.numpy(),
        mask=mass_mask(maps.combined, mass).numpy(),
        mass=mass,
        title=f"{config.objective.method} · last block, class token",
    )
