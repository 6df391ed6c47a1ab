"""Attention, maps and relations for the page: packed arrays, and images, stored once if several runs share them.

Each function takes one run per method. Axes: n images, H heads, R x C patches, r x c queries, M records, P pairs.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrkd.reporting.pack import (
    pack_distributions,
    pack_integers,
    pack_layout,
    pack_magnitudes,
    pack_sprite,
    packed_bytes,
)
from mrkd.reporting.read import RunRecord
from mrkd.runs.run import ATTENTION, EMBEDDING, RELATIONS

ATTENTION_BUDGET = 7_000_000
"""Maximum size in bytes of patch attention of all methods; further images have class-token attention only."""


class _Shared:
    """Sets of images, stored once for all runs that use the same ones."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._places: dict[tuple[Any, ...], int] = {}

    def place(self, images: np.ndarray, **more: Any) -> int:
        """Index of these images in `items`; adds them if they are new."""
        key = (images.shape, zlib.crc32(np.ascontiguousarray(images).tobytes()))
        if key not in self._places:
            self._places[key] = len(self.items)
            self.items.append({"sprite": pack_sprite(images), **more})
        return self._places[key]


def attention_views(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """For each run, attention of the class token and of each patch, and overlap with objects."""
    sets, views = _Shared(), []
    for run in runs:
        arrays = run.arrays(ATTENTION)
        if arrays is None or "patches" not in arrays:
            continue
        names = _names(arrays)
        objects = arrays.get("objects")
        place = sets.place(
            arrays["images"],
            names=names,
            objects=None if objects is None else pack_integers(objects.astype(np.uint8)),
        )
        views.append(
            {
                "method": run.method,
                "run": run.name,
                "label": run.label,
                "data": run.data_name,
                "set": place,
                "mass": float(arrays["mass"]),
                "grid": list(arrays["heads"].shape[-2:]),
                "trainedGrid": training_grid(run),
                "classToken": pack_distributions(arrays["heads"]),
                "patches": _within_budget(arrays["patches"], ATTENTION_BUDGET // len(runs)),
                "segmentation": run.segmentation,
            }
        )
    return {"sets": sets.items, "views": views}


def training_grid(run: RunRecord) -> list[int] | None:
    """Rows and columns of patches in training; None if the files do not tell."""
    size, patch = run.section("data").get("size"), run.section("model").get("patch")
    if run.section("model").get("name") is None and isinstance(size, int) and isinstance(patch, int) and patch > 0:
        return [size // patch] * 2
    arrays = run.arrays(RELATIONS)
    return None if arrays is None else list(arrays["patch_mask"].shape[-2:])


def _within_budget(patches: np.ndarray, budget: int) -> list[dict[str, Any]]:
    """(n, H, r c, r, c), packed by image, for as many of the first images as fit into the budget."""
    packed = []
    for image in patches:
        candidate = pack_distributions(image)
        budget -= packed_bytes(candidate)
        if budget < 0:
            break
        packed.append(candidate)
    return packed


def _names(arrays: dict[str, np.ndarray]) -> list[str] | None:
    """The class of each image."""
    if "labels" not in arrays:
        return None
    names = arrays["class_names"]
    return [str(names[label]) if 0 <= label < len(names) else "unlabelled" for label in arrays["labels"]]


def image_maps(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """For each run, two layouts of its test images, their clusters and their neighbours."""
    sets, views = _Shared(), []
    for run in runs:
        arrays = run.arrays(EMBEDDING)
        if arrays is None:
            continue
        used, labels = np.unique(arrays["labels"], return_inverse=True)  # of very many classes, few have images
        place = sets.place(
            arrays["images"],
            labels=pack_integers(labels),
            classNames=[str(arrays["class_names"][label]) for label in used],
        )
        views.append(
            {
                "method": run.method,
                "run": run.name,
                "label": run.label,
                "data": run.data_name,
                "set": place,
                "pca": pack_layout(arrays["pca"]),
                "tsne": pack_layout(arrays["tsne"]),
                "explained": [float(part) for part in arrays["explained"]],
                "perplexity": float(arrays["perplexity"]),
                "clusters": pack_integers(arrays["clusters"]),
                "neighbours": pack_integers(arrays["neighbours"]),
            }
        )
    return {"sets": sets.items, "views": views}


def relation_views(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """For each run, distances divided by their mean at each record, and the views of the images."""
    sets, views = _Shared(), []
    for run in runs:
        arrays = run.arrays(RELATIONS)
        if arrays is None:
            continue
        teacher, student = arrays["teacher"], arrays["student"]
        labels = arrays.get("labels")
        place = sets.place(
            arrays["views"].reshape(-1, *arrays["views"].shape[2:]),  # teacher's views, then the student's
            edges=class_edges(labels),
            masked=pack_integers(arrays["patch_mask"].astype(np.uint8)),
        )
        views.append(
            {
                "method": run.method,
                "run": run.name,
                "label": run.label,
                "data": run.data_name,
                "set": place,
                "steps": [int(step) for step in arrays["steps"]],
                "teacher": pack_magnitudes(_over_mean(teacher)),
                "student": pack_magnitudes(_over_mean(student)),
                "means": [[float(mean) for mean in side.mean(axis=1)] for side in (teacher, student)],
            }
        )
    return {"sets": sets.items, "views": views}


def class_edges(labels: np.ndarray | None) -> list[int]:
    """Images before which another class begins; none if the classes are too small to be blocks."""
    if labels is None:
        return []
    edges = [int(edge) for edge in np.flatnonzero(np.diff(labels)) + 1]
    return edges if 3 * len(edges) <= len(labels) else []


def _over_mean(distances: np.ndarray) -> np.ndarray:
    means = distances.mean(axis=1, keepdims=True)
    return distances / np.where(means > 0, means, 1.0)
