"""Images that an evaluation reads: in memory, or decoded each time they are wanted.

Axes: n images, B of them in a batch, S pixels.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from mrkd.config import DataConfig
from mrkd.data.listing import Listing
from mrkd.data.resident import ImageSet, decode_listing, decode_readable, decoded_gib, need_labels
from mrkd.data.stream import Stream, worker_count
from mrkd.errors import UserError


class Images(Protocol):
    """What `ImageSet` and `StreamedSet` have in common."""

    @property
    def labels(self) -> Tensor | None:
        """(n,) int64 class indices on the device; None when the images carry no labels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the indices; empty without labels."""

    @property
    def names(self) -> tuple[str, ...]:
        """(n) where each image comes from."""

    @property
    def source_rows(self) -> Sequence[int]:
        """(n) place of each image in the order of the source; empty for images from elsewhere."""

    @property
    def masks(self) -> Tensor | None:
        """(n, S, S) bool, True on the object; None when nobody knows where it is."""

    @property
    def size(self) -> int:
        """S."""

    @property
    def device(self) -> torch.device:
        """Where batches and labels are."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Self:
        """The images at `index` (int64), in that order."""

    def require_labels(self, what_for: str) -> Tensor:
        """The labels, or a UserError that says what needed them."""

    def batches(self, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows (B,) int64 and their images (B, 3, S, S) uint8 for each of the index tensors in `order`.

        Rows of images that cannot be read are left out; a batch without any other is, too.
        """

    def in_memory(self) -> ImageSet:
        """All that can be read, decoded, on the CPU where they were not on the device before."""


@dataclass(frozen=True, kw_only=True)
class StreamedSet:
    """Images of one split that stay in their files."""

    listing: Listing
    config: DataConfig
    device: torch.device
    most_broken: float
    """More broken images than this, of the whole split, end a pass: a part of it may have them all."""

    @property
    def labels(self) -> Tensor | None:
        """See `Images`."""
        labels = self.listing.labels
        return None if labels is None else torch.tensor(labels, dtype=torch.int64, device=self.device)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Images`."""
        return self.listing.class_names

    @property
    def names(self) -> tuple[str, ...]:
        """See `Images`."""
        return tuple(self.listing.names)

    @property
    def source_rows(self) -> Sequence[int]:
        """See `Images`."""
        return self.listing.source_rows

    @property
    def masks(self) -> Tensor | None:
        """See `Images`."""
        return None if self.listing.masks is None else torch.from_numpy(self.listing.masks)

    @property
    def size(self) -> int:
        """See `Images`."""
        return self.config.size

    def __len__(self) -> int:
        return len(self.listing)

    def take(self, index: Tensor) -> Self:
        """See `Images`."""
        return dataclasses.replace(self, listing=self.listing.take(index.tolist()))

    def require_labels(self, what_for: str) -> Tensor:
        """See `Images`."""
        return need_labels(self.labels, what_for)

    def batches(self, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Images`; worker processes decode ahead.

        Raises:
            UserError: more images are broken than `data.max_broken_fraction` allows.
        """
        stream = Stream(
            self.listing,
            size=self.config.size,
            max_pixels=self.config.max_pixels,
            most_broken=self.most_broken,
            workers=worker_count(self.config.workers, 1, self.device),
            device=self.device,
        )
        for batch in stream.batches(enumerate(order), slice(None)):
            rows = batch.rows.to(self.device)
            if not batch.broken:
                yield rows, batch.images
            elif len(batch.broken) < len(rows):
                sound = torch.ones(len(rows), dtype=torch.bool, device=self.device)
                sound[list(batch.broken)] = False
                yield rows[sound], batch.images[sound]

    def in_memory(self) -> ImageSet:
        """See `Images`. However many are broken, they are left out: this is for a few of many."""
        return decode_readable(self.listing, self.config)


def streams(listing: Listing, config: DataConfig) -> bool:
    """Whether these images are decoded when they are wanted, not beforehand: as `data.mode` says.

    Raises:
        UserError: they have no files to be streamed from.
    """
    if config.mode == "auto":
        return decoded_gib(listing, config) > config.max_resident_gib
    if config.mode == "stream" and len(listing) and isinstance(listing.cells[0], np.ndarray):
        raise UserError(f"the {config.source} are in memory: data.mode 'stream' is for images in files")
    return config.mode == "stream"


def open_images(listing: Listing, config: DataConfig, device: torch.device) -> tuple[Images, tuple[str, ...]]:
    """The images of a listing in memory, or to be streamed, and the names of those that are known to be broken.

    Raises:
        UserError: they would not fit a `data.mode` of `resident`, or too many are broken.
    """
    if streams(listing, config):
        most_broken = config.max_broken_fraction * len(listing)
        return StreamedSet(listing=listing, config=config, device=device, most_broken=most_broken), ()
    images, broken = decode_listing(listing, config)
    return images.to(device), broken


def in_order(images: Images, batch: int | None = None) -> Iterator[Tensor]:
    """Index tensors of all images, one after another, `batch` at a time.

    By default 512, or as many as make 32 MiB of pixels: each worker of a stream has several batches under way.
    """
    batch = batch or max(1, min(512, 2**25 // (3 * images.size**2)))
    for start in range(0, len(images), batch):
        yield torch.arange(start, min(start + batch, len(images)))
