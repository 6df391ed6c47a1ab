"""The attention figure of one run: images, every head, all heads together, and the mask they make."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.attention.maps import AttentionMaps, last_block_attention, mass_mask, patch_maps
from mrkd.attention.segmentation import MASSES, enlarge, segmentation
from mrkd.config import Config
from mrkd.data.dataset import ImageDataset
from mrkd.data.load import load
from mrkd.data.resident import ResidentDataset
from mrkd.errors import UserError
from mrkd.model.backbone import ViT, create_vit
from mrkd.runs.npz import write_npz
from mrkd.runs.run import ATTENTION, ATTENTION_FIGURE, SEGMENTATION, Run
from mrkd.runs.weights import load_backbone
from mrkd.system.files import write_atomically, write_json

MAX_QUERIES = 256
"""The explorer of the report asks any patch; on finer grids, squares of patches count as one."""


def attend(run_path: str | Path, config: Config | None = None) -> Path:
    """Draw `attention.png` and write the arrays to `attention.npz` in the run directory.

    Where the data comes with masks of its objects, `attention.json` says how well attention finds them.

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
    source = splits.test or splits.train
    chosen = source.take(_choose(source, config.attention.images)).in_memory()
    if len(chosen) == 0:
        raise UserError(f"none of the images of {config.data.source} that were chosen for the figure can be read")
    vit = load_backbone(run)
    enlarged = enlarge(chosen.images, config.attention.scale)
    maps = last_block_attention(vit, enlarged)
    write_npz(run.path / ATTENTION, _arrays(chosen, maps, patch_maps(vit, enlarged, MAX_QUERIES), config))
    if source.masks is not None:
        write_json(run.path / SEGMENTATION, _segmentation(vit, source.in_memory(), config))
    target = run.path / ATTENTION_FIGURE
    title = f"{config.objective.method} · last block, class token"
    write_atomically(target, lambda path: _draw(path, chosen.images, maps, config.attention.mass, title))
    return target


def _arrays(chosen: ResidentDataset, maps: AttentionMaps, patches: Tensor, config: Config) -> dict[str, np.ndarray]:
    arrays = {
        "images": chosen.images.numpy(),
        "heads": maps.heads.numpy(),
        "combined": maps.combined.numpy(),
        "mask": mass_mask(maps.combined, config.attention.mass).numpy(),
        "mass": np.array(config.attention.mass),
        "patches": patches.half().numpy(),
        "class_names": np.array(chosen.class_names, dtype=np.str_),
    }
    if chosen.labels is not None:
        arrays["labels"] = chosen.labels.numpy()
    if chosen.masks is not None:
        arrays["objects"] = chosen.masks.numpy()
    return arrays


def _segmentation(vit: ViT, images: ResidentDataset, config: Config) -> dict[str, Any]:
    """Overlap with the objects, and what the same network reaches with fresh weights."""
    assert images.masks is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        fresh = create_vit(config.model, config.data.size).eval().requires_grad_(False)
    return {
        "mass": list(MASSES),
        "jaccard": segmentation(vit, images.images, images.masks, config.attention.scale),
        "random_weights": segmentation(fresh, images.images, images.masks, config.attention.scale),
        "whole_image": 100.0 * images.masks.float().mean().item(),
        "images": len(images),
        "scored_on": config.data.holdout,
        "chosen_mass": config.attention.mass,
    }


def _choose(images: ImageDataset, count: int) -> Tensor:
    """Positions of the first images of different classes, or evenly over all: every run shows the same ones."""
    if images.labels is None:  # files that lie together are often alike
        return torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()
    first: dict[int, int] = {}
    for index, label in enumerate(images.labels.tolist()):
        first.setdefault(label, index)
    of_each = [first[label] for label in sorted(first)]
    chosen = set(of_each)
    rest = (index for index in range(len(images)) if index not in chosen)
    return torch.tensor([*of_each, *itertools.islice(rest, count)][:count])


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
