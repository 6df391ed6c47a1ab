"""The attention figure of one run: images, every head, all heads together, and the mask they make."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.attention.maps import AttentionMaps, last_block_attention, mass_mask
from mrkd.config import Config
from mrkd.data.sources import ImageSet, load
from mrkd.model.export import load_backbone
from mrkd.run import Run, write_atomically


def attend(run_path: str | Path, config: Config | None = None) -> Path:
    """Draw `attention.png` and write the arrays to `attention.npz` in the run directory.

    Args:
        run_path: a directory written by `pretrain`.
        config: the run's own config when None; given, its `data` and `attention` sections are used.
    Returns:
        The path of the figure.
    Raises:
        UserError: no finished run, or its data is missing.
    """
    run = Run.open(run_path)
    config = config or run.config()
    splits = load(config.data)
    images = _choose(splits.test or splits.train, config.attention.images)
    side = config.data.size * config.attention.scale
    enlarged = F.interpolate(images.float(), size=(side, side), mode="bicubic", align_corners=False)
    enlarged = enlarged.round().clamp(0, 255).to(torch.uint8)
    maps = last_block_attention(load_backbone(run), enlarged)
    arrays: dict[str, Any] = {
        "images": images.numpy(),
        "heads": maps.heads.numpy(),
        "combined": maps.combined.numpy(),
        "mask": mass_mask(maps.combined, config.attention.mass).numpy(),
    }

    def write_arrays(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(run.path / "attention.npz", write_arrays)
    target = run.path / "attention.png"
    title = f"{config.objective.method} · last block, class token"
    write_atomically(target, lambda path: _draw(path, images, maps, config.attention.mass, title))
    return target


def _choose(images: ImageSet, count: int) -> Tensor:
    """The first images of different classes, so that every run shows the same ones."""
    if images.labels is None:
        return images.images[:count]
    first = [int((images.labels == label).nonzero()[0]) for label in images.labels.unique()]
    rest = [index for index in range(len(images)) if index not in set(first)]
    return images.images[torch.tensor((first + rest)[:count])]


def _draw(path: Path, images: Tensor, maps: AttentionMaps, mass: float, title: str) -> None:
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
        # Hidden patches turn pale blue, which stands out against dark and light backgrounds alike.
        shown = np.where(visible.numpy() > 0, pixels, 0.25 * pixels + 0.75 * np.array([148, 184, 214]))
        axes[row, -1].imshow(shown.astype(np.uint8), interpolation="bicubic", extent=extent)
    for column, name in enumerate(titles):
        axes[0, column].set_title(name, fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, format="png")
