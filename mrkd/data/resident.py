"""Images decoded once into memory: a resident uint8 tensor per split."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrkd.config import DataConfig
from mrkd.data.decode import read_image
from mrkd.data.listing import Listing
from mrkd.errors import UserError

CHUNK = 512
"""Rows read from a source at a time."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Decoded images of one split."""

    images: Tensor
    """(n, 3, S, S) uint8."""
    labels: Tensor | None
    """(n,) int64 class indices; None when the images carry no labels."""
    class_names: tuple[str, ...]
    """Names in the order of the indices; empty without labels."""
    names: tuple[str, ...] = ()
    """(n) where each image comes from: its path inside the source, or its row; empty for images from elsewhere."""

    def __len__(self) -> int:
        return self.images.shape[0]

    def take(self, index: Tensor) -> "ImageSet":
        """The images at `index` (int64), in that order."""
        labels = None if self.labels is None else self.labels[index]
        names = tuple(self.names[row] for row in index.tolist()) if self.names else ()
        return dataclasses.replace(self, images=self.images[index], labels=labels, names=names)

    def require_labels(self, what_for: str) -> Tensor:
        """The labels, or a UserError that says what needed them."""
        if self.labels is None:
            raise UserError(f"{what_for} needs labels, but these images have none: use class folders or a label column")
        return self.labels

    def to(self, device: torch.device) -> "ImageSet":
        """The same set resident on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return dataclasses.replace(self, images=self.images.to(device), labels=labels)


def decode_listing(listing: Listing, config: DataConfig) -> tuple[ImageSet, tuple[str, ...]]:
    """The images of a listing in memory, and the names of those that could not be read.

    Raises:
        UserError: they would not fit `data.max_resident_gib`, or too many are broken.
    """
    gib = len(listing) * 3 * config.size**2 / 2**30
    if gib > config.max_resident_gib:
        raise UserError(
            f"{len(listing)} images of {config.size} px need {gib:.1f} GiB, more than "
            f"data.max_resident_gib = {config.max_resident_gib}: raise it or set data.train_images"
        )
    pixels = np.empty((len(listing), config.size, config.size, 3), dtype=np.uint8)
    kept: list[int] = []
    for start in range(0, len(listing), CHUNK):
        rows = range(start, min(start + CHUNK, len(listing)))
        for row, cell in zip(rows, listing.cells.many(rows), strict=True):
            image = read_image(cell, config.size, config.max_pixels)
            if image is not None:
                pixels[len(kept)] = image
                kept.append(row)
    sound = set(kept)
    broken = tuple(name for row, name in enumerate(listing.names) if row not in sound)
    if len(broken) > config.max_broken_fraction * len(listing):
        raise UserError(
            f"{len(broken)} of {len(listing)} images cannot be read (first: {broken[0]}), more than "
            f"data.max_broken_fraction = {config.max_broken_fraction} allows"
        )
    labels = None if listing.labels is None else torch.tensor([listing.labels[row] for row in kept], dtype=torch.int64)
    images = ImageSet(
        images=torch.from_numpy(pixels[: len(kept)]).permute(0, 3, 1, 2).contiguous(),
        labels=labels,
        class_names=listing.class_names,
        names=tuple(listing.names[row] for row in kept),
    )
    return images, broken
