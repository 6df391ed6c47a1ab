"""The attention figure of a run: images, attention of each head, mean over heads, and the mask made from it."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrkd.attention.figure import attention_figure
from mrkd.attention.maps import AttentionMaps, last_block_attention, mass_mask, patch_maps
from mrkd.attention.segmentation import MASSES, enlarge, segmentation
from mrkd.config import Config
from mrkd.data.dataset import ImageDataset
from mrkd.data.load import load
from mrkd.data.resident import ResidentDataset
from mrkd.errors import UserError
from mrkd.model.backbone import ViT, create_vit
from mrkd.runs.npz import write_npz
from mrkd.runs.run import ATTENTION, ATTENTION_FIGURE, SEGMENTATION, RunDirectory
from mrkd.runs.weights import load_backbone
from mrkd.system.files import write_atomically, write_json

MAX_QUERIES = 256
"""The report shows attention maps of at most this many query patches; finer grids are pooled over squares."""


def attend(run_path: str | os.PathLike[str], config: Config | None = None) -> Path:
    """Draw `attention.png` and write the arrays to `attention.npz` in the run directory.

    If the data has object masks, also write `attention.json`: the overlap of attention with the objects.

    Args:
        run_path: a directory written by `pretrain`.
        config: its `data` and `attention` sections are used; None for the run's own config.
    Returns:
        The path of the figure.
    Raises:
        UserError: there is no finished run, or its data is missing.
    """
    run = RunDirectory.open(run_path)
    config = config or run.config()
    splits = load(config.data)
    source = splits.test or splits.train
    selected = source.take(_select(source, config.attention.images)).in_memory()
    if len(selected) == 0:
        raise UserError(f"none of the images of {config.data.source} that were selected for the figure can be read")
    vit = load_backbone(run)
    enlarged = enlarge(selected.images, config.attention.scale)
    maps = last_block_attention(vit, enlarged)
    write_npz(run.path / ATTENTION, _arrays(selected, maps, patch_maps(vit, enlarged, MAX_QUERIES), config))
    if source.masks is not None:
        write_json(run.path / SEGMENTATION, _segmentation(vit, source.in_memory(), config))
    target = run.path / ATTENTION_FIGURE
    title = f"{config.objective.method} · last block, class token"
    figure = attention_figure(selected.images, maps, config.attention.mass, title)
    write_atomically(target, lambda path: figure.savefig(path, format="png"))
    return target


def _arrays(selected: ResidentDataset, maps: AttentionMaps, patches: Tensor, config: Config) -> dict[str, np.ndarray]:
    arrays = {
        "images": selected.images.numpy(),
        "heads": maps.heads.numpy(),
        "combined": maps.combined.numpy(),
        "mask": mass_mask(maps.combined, config.attention.mass).numpy(),
        "mass": np.array(config.attention.mass),
        "patches": patches.half().numpy(),
        "class_names": np.array(selected.class_names, dtype=np.str_),
    }
    if selected.labels is not None:
        arrays["labels"] = selected.labels.numpy()
    if selected.masks is not None:
        arrays["objects"] = selected.masks.numpy()
    return arrays


def _segmentation(vit: ViT, images: ResidentDataset, config: Config) -> dict[str, Any]:
    """Overlap of attention with the objects, for the trained network and for one with random weights."""
    assert images.masks is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        untrained = create_vit(config.model, config.data.size).eval().requires_grad_(False)
    return {
        "mass": list(MASSES),
        "jaccard": segmentation(vit, images.images, images.masks, config.attention.scale),
        "random_weights": segmentation(untrained, images.images, images.masks, config.attention.scale),
        "whole_image": 100.0 * images.masks.float().mean().item(),
        "images": len(images),
        "scored_on": config.data.holdout,
        "chosen_mass": config.attention.mass,
    }


def _select(images: ImageDataset, count: int) -> Tensor:
    """Indices of images that are the same for all runs: the first of each class; without labels, evenly spaced."""
    if images.labels is None:  # neighbouring files are often similar
        return torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()
    first: dict[int, int] = {}
    for index, label in enumerate(images.labels.tolist()):
        first.setdefault(label, index)
    of_each = [first[label] for label in sorted(first)]
    selected = set(of_each)
    rest = (index for index in range(len(images)) if index not in selected)
    return torch.tensor([*of_each, *itertools.islice(rest, count)][:count])
