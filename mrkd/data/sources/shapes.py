"""Drawn shapes filled with one photograph's texture on another's, with exact masks of the objects.

The class is the shape. Textures are crops of the two photographs that scikit-learn carries, `china.jpg` and
`flower.jpg` (CC BY 2.0, credited in its `datasets/images/README.txt`). Which of them is in front is a coin toss, so
colour says nothing about the object; training and test images take their textures from different parts of the
photographs. Everything is drawn from a fixed seed. Axes: n images, S pixels.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from mrkd.data.listing import KeptCells
from mrkd.data.sources.labels import Found
from mrkd.errors import UserError

TRAIN_IMAGES, TEST_IMAGES = 2000, 500
MIN_SIZE = 16
"""Below this many pixels a star and a cross look alike."""
_SUPERSAMPLING = 3
"""Outlines are drawn this many times finer, so that the edges of objects are smooth."""
_CANDIDATES = 4
"""Crops tried for each texture; those with the most texture and the most different colours are taken."""

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From coordinates x, y (unit outer radius, y down) to a number that is negative inside the shape."""


class DrawnShapes(NamedTuple):
    """One split."""

    images: np.ndarray
    """(n, 3, S, S) uint8."""
    masks: np.ndarray
    """(n, S, S) bool, True on the object."""
    labels: np.ndarray
    """(n,) int64, in the order of `SHAPES`."""


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 1


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.75) - 0.25


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.75


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x) * np.sqrt(3) / 2 - y / 2, y) - 0.5


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    long, short = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return np.maximum(long - 0.93, short - 0.32)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Folded into one of ten equal wedges, the outline is the straight line from a tip to a notch.
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    radius, tip, notch = np.hypot(x, y), 1.0, 0.42
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    notch_along, notch_across = notch * np.cos(np.pi / 5), notch * np.sin(np.pi / 5)
    return (along - tip) * notch_across - across * (notch_along - tip)


SHAPES: dict[str, Distance] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
}


@lru_cache(maxsize=4)
def draw_shapes(size: int, split: str) -> DrawnShapes:
    """All images of `train` or `test` at `size` pixels; the same at every call.

    Raises:
        UserError: too small to tell the shapes apart.
    """
    if size < MIN_SIZE:
        raise UserError(f"data.size must be at least {MIN_SIZE} pixels for shapes, got {size}")
    count = TRAIN_IMAGES if split == "train" else TEST_IMAGES
    generator = np.random.default_rng(0 if split == "train" else 1)
    photos = _photographs(split)
    labels = np.arange(count, dtype=np.int64) % len(SHAPES)
    images, masks = np.empty((count, 3, size, size), np.uint8), np.empty((count, size, size), bool)
    outlines = list(SHAPES.values())
    for row, label in enumerate(labels):
        cover = _coverage(outlines[label], size, generator)
        front, back = _textures(photos, size, generator)
        blended = cover[..., None] * front + (1 - cover[..., None]) * back
        images[row] = blended.round().astype(np.uint8).transpose(2, 0, 1)
        masks[row] = cover >= 0.5
    for array in (images, masks, labels):
        array.setflags(write=False)  # every caller gets the same arrays
    return DrawnShapes(images, masks, labels)


def _photographs(split: str) -> list[Image.Image]:
    from sklearn.datasets import load_sample_image

    photos = []
    for name in ("china.jpg", "flower.jpg"):
        pixels = load_sample_image(name)
        border = pixels.shape[1] * 2 // 3
        photos.append(Image.fromarray(pixels[:, :border] if split == "train" else pixels[:, border:]))
    return photos


def _coverage(outline: Distance, size: int, generator: np.random.Generator) -> np.ndarray:
    """(S, S) part of each pixel that the object covers; the object lies wholly inside the image."""
    fine = size * _SUPERSAMPLING
    radius = generator.uniform(0.2, 0.36)
    centre = generator.uniform(radius, 1 - radius, 2)
    turn = generator.uniform(0, 2 * np.pi)
    grid = (np.arange(fine) + 0.5) / fine
    x, y = (grid[None, :] - centre[0]) / radius, (grid[:, None] - centre[1]) / radius
    turned = outline(np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x)
    inside = (turned < 0).astype(np.float32)
    return inside.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean(axis=(1, 3))


def _textures(photos: list[Image.Image], size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Float32 pixels (S, S, 3) of the object and of the background, from different photographs."""
    order = generator.permutation(2)
    fronts, backs = ([_crop(photos[which], size, generator) for _ in range(_CANDIDATES)] for which in order)
    front = max(fronts, key=_texture)
    colour = front.mean(axis=(0, 1))
    return front, max(backs, key=lambda back: _texture(back) + np.abs(back.mean(axis=(0, 1)) - colour).mean())


def _texture(pixels: np.ndarray) -> float:
    """How much there is to see in a crop: flat sky scores 0."""
    return float(pixels.std(axis=(0, 1)).mean())


def _crop(photo: Image.Image, size: int, generator: np.random.Generator) -> np.ndarray:
    """A random square with its colour channels in a random order: two photographs alone have few colours."""
    side = int(generator.integers(64, 180))
    left = int(generator.integers(0, photo.width - side + 1))
    top = int(generator.integers(0, photo.height - side + 1))
    box = (left, top, left + side, top + side)
    resized = photo.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    return np.asarray(resized, dtype=np.float32)[:, :, generator.permutation(3)]


def find_shapes(size: int) -> dict[str, Found]:
    """Both splits at `size` pixels, with masks.

    Raises:
        UserError: too small to tell the shapes apart.
    """
    found = {}
    for split in ("train", "test"):
        images, masks, labels = draw_shapes(size, split)
        found[split] = Found(
            names=[f"shapes {split} row {row}" for row in range(len(images))],
            cells=KeptCells(images.transpose(0, 2, 3, 1)),
            values=labels.tolist(),
            class_names=list(SHAPES),
            masks=masks,
        )
    return found
