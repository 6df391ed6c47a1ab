"""The attention figure: a row for each image. Axes: B images, H heads, R x C patches, S pixels."""

from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mrkd.attention.maps import AttentionMaps, mass_mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import


def attention_figure(images: Tensor, maps: AttentionMaps, mass: float, title: str) -> "Figure":
    """Draw images, attention of each head, mean over heads, and the mask of `mass` of the attention.

    Args:
        images: (B, 3, S, S) uint8.
        maps: of these images.
        mass: fraction in (0, 1].
        title: above everything.
    """
    from matplotlib.figure import Figure

    heads = maps.heads.shape[1]
    titles = ["image", *(f"head {head + 1}" for head in range(heads)), "all heads", f"{mass:.0%} of attention"]
    figure = Figure(figsize=(1.25 * len(titles), 1.25 * len(images) + 0.45), dpi=150, layout="constrained")
    axes = figure.subplots(len(images), len(titles), squeeze=False)
    keep = mass_mask(maps.combined, mass)
    for row, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy()
        extent = (0, pixels.shape[1], pixels.shape[0], 0)
        grey = pixels.mean(axis=2)
        panels = [*maps.heads[row], maps.combined[row]]
        axes[row, 0].imshow(pixels, interpolation="bicubic", extent=extent)
        for column, panel in enumerate(panels, start=1):
            axes[row, column].imshow(grey, cmap="gray", interpolation="bicubic", extent=extent)
            axes[row, column].imshow(panel.numpy(), cmap="magma", alpha=0.72, interpolation="bilinear", extent=extent)
        visible = F.interpolate(keep[row][None, None].float(), size=pixels.shape[:2], mode="nearest")[0, 0, :, :, None]
        # Patches outside the mask become pale blue, which is visible on dark and on light images.
        shown = np.where(visible.numpy() > 0, pixels, 0.25 * pixels + 0.75 * np.array([148, 184, 214]))
        axes[row, -1].imshow(shown.astype(np.uint8), interpolation="bicubic", extent=extent)
    for column, name in enumerate(titles):
        axes[0, column].set_title(name, fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=9)
    return figure
