"""Two pictures: the images, and the views of them that student and teacher would get. V views, B images, S pixels."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.augment.masking import draw_masks
from mrkd.data.augment.views import MEAN, STD, ViewMaker
from mrkd.system.output import printable

COLUMNS = 10
HIDDEN = np.array([148, 184, 214])
"""Pale blue, which stands out against dark and light images alike."""


def draw_images(path: Path, images: Sequence[np.ndarray], captions: Sequence[str], title: str) -> None:
    """A contact sheet of images (S, S, 3), each with its caption."""
    rows = -(-len(images) // COLUMNS)
    figure = _figure(COLUMNS, rows, 1.0, 1.0 + 0.2 * any(captions), 0.4)
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for axis, image, caption in zip(axes.flat, images, map(printable, captions), strict=False):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(caption if len(caption) <= 16 else f"{caption[:15]}…", fontsize=6, pad=2, parse_math=False)
    _finish(figure, axes, title, path)


def draw_views(path: Path, images: Sequence[np.ndarray], config: Config, grid: tuple[int, int], title: str) -> None:
    """For each image (S, S, 3): both views in full, as the teacher gets them, and masked; then the local crops."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (B, 3, S, S)
    torch.manual_seed(config.train.seed)
    views, local = ViewMaker(config.views, config.data.size)(batch)
    masks = draw_masks(
        (views.shape[0], len(images)), grid, config.mask, torch.Generator().manual_seed(config.train.seed)
    )
    columns = [("image", list(images))]
    for number, (view, mask) in enumerate(zip(views, masks, strict=True), start=1):
        full = [_pixels(one) for one in view]
        columns.append((f"view {number}\nteacher", full))
        hidden = [_hide(one, part.view(grid)) for one, part in zip(full, mask, strict=True)]
        columns.append((f"view {number}\nstudent", hidden))
    for number, crops in enumerate(local if local is not None else [], start=1):
        columns.append((f"crop {number}\nstudent", [_pixels(one) for one in crops]))
    figure = _figure(len(columns), len(images), 1.25, 1.25, 0.75)
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (name, panels) in enumerate(columns):
        axes[0, column].set_title(name, fontsize=8)
        for row, panel in enumerate(panels):
            axes[row, column].imshow(panel, interpolation="nearest")
    _finish(figure, axes, title, path)


def _figure(columns: int, rows: int, width: float, height: float, head: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width * columns, height * rows + head), dpi=150, layout="constrained")


def _finish(figure: Any, axes: Any, title: str, path: Path) -> None:
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(printable(title), fontsize=9, parse_math=False)
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; data.json has the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format="png")


def _pixels(view: Tensor) -> np.ndarray:
    """(3, S, S) standardised -> (S, S, 3) uint8."""
    scaled = view.cpu() * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    return (scaled.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _hide(pixels: np.ndarray, mask: Tensor) -> np.ndarray:
    """Masked patches (R, C) become one colour, as all of them become one token."""
    rows, columns = mask.shape
    patch = pixels.shape[0] // rows, pixels.shape[1] // columns
    covered = np.kron(mask.numpy().astype(np.uint8), np.ones(patch, dtype=np.uint8)) > 0
    shown = pixels.copy()
    shown[covered] = HIDDEN
    return shown
