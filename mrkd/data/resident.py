"""Images that are decoded once and stay in memory. Axes: n images, B of them in a batch, S pixels."""

import dataclasses
import zlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import ClassVar

import torch
from torch import Tensor

from mrkd.config import DataConfig
from mrkd.data.cache import DecodedCache
from mrkd.data.dataset import WHOLE_BATCH, Batch, need_labels
from mrkd.data.decode import read_image
from mrkd.data.listing import Listing, missing_file
from mrkd.data.thread_pool import each_image
from mrkd.data.transfer import to_device
from mrkd.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ResidentDataset:
    """Decoded images of one split, all on one device. See `ImageDataset`."""

    images: Tensor
    """(n, 3, S, S) uint8."""
    labels: Tensor | None
    """(n,) int64 class indices, -1 for an unlabelled image; None when no image has a label."""
    class_names: tuple[str, ...]
    """Names in the order of the indices; empty without labels."""
    masks: Tensor | None = None
    """(n, S, S) bool, True on the object; None when the source has no masks."""
    names: tuple[str, ...] = ()
    """(n) where each image comes from: its path inside the source, or its row; empty for images from elsewhere."""
    broken: list[str] = field(default_factory=list)
    """Names of the images that could not be read and are not among these."""

    streamed: ClassVar[bool] = False
    batches_ahead: ClassVar[int] = 0
    waited_seconds: ClassVar[float] = 0.0
    source_rows: tuple[int, ...] = ()
    """(n) place of each image in the order of the source; empty for images from elsewhere."""

    def __len__(self) -> int:
        return self.images.shape[0]

    def take(self, index: Tensor) -> "ResidentDataset":
        """The images at `index` (int64), in that order."""
        labels = None if self.labels is None else self.labels[index]
        names = tuple(self.names[row] for row in index.tolist()) if self.names else ()
        masks = None if self.masks is None else self.masks[index]
        images = self.images[index.to(self.device)]
        rows = tuple(self.source_rows[row] for row in index.tolist()) if self.source_rows else ()
        return dataclasses.replace(
            self, images=images, labels=labels, masks=masks, names=names, source_rows=rows, broken=[]
        )

    @property
    def size(self) -> int:
        """S."""
        return self.images.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @cached_property
    def fingerprint(self) -> str:
        """Shape and CRC-32 of the pixels."""
        pixels = self.images.cpu().contiguous().numpy()
        return f"{'x'.join(map(str, self.images.shape))}-{zlib.crc32(pixels.data):08x}"

    def has_fingerprint(self, fingerprint: object) -> bool:
        """See `ImageDataset`."""
        return fingerprint == self.fingerprint

    def require_labels(self, what_for: str) -> Tensor:
        """The labels, or a UserError that says what needed them."""
        return need_labels(self.labels, what_for)

    def batches(self, order: Iterable[Tensor], local: slice = WHOLE_BATCH) -> Generator[Batch, None, None]:
        """See `ImageDataset`."""
        for index in order:
            yield Batch(index, self.images[to_device(index[local], self.device)])

    def in_memory(self) -> "ResidentDataset":
        """These images."""
        return self

    def to(self, device: torch.device) -> "ResidentDataset":
        """The same images on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        masks = None if self.masks is None else self.masks.to(device)
        return dataclasses.replace(self, images=self.images.to(device), labels=labels, masks=masks)


def decoded_gib(listing: Listing, config: DataConfig) -> float:
    """GiB of the listing's images in memory."""
    return len(listing) * 3 * config.size**2 / 2**30


def decode_listing(listing: Listing, config: DataConfig) -> ResidentDataset:
    """Those images of a listing that can be read, in memory.

    Raises:
        UserError: they would not fit `data.max_resident_gib`, or too many are broken.
    """
    gib = decoded_gib(listing, config)
    if gib > config.max_resident_gib:
        raise UserError(
            f"{len(listing)} images of {config.size} px need {gib:.1f} GiB, more than "
            f"data.max_resident_gib = {config.max_resident_gib}: raise it, set data.train_images or data.mode auto"
        )
    cache = DecodedCache(listing, config)
    images, rows = cache.read() or _decode(listing, config, cache)
    kept = rows.tolist()
    sound = set(kept)
    broken = [name for row, name in enumerate(listing.names) if row not in sound]
    if len(broken) > config.max_broken_fraction * len(listing):
        row = next(row for row in range(len(listing)) if row not in sound)
        first = f"{broken[0]}{missing_file(listing, row)}"
        raise UserError(
            f"{len(broken)} of {len(listing)} images cannot be read (first: {first}), more than "
            f"data.max_broken_fraction = {config.max_broken_fraction} allows"
        )
    labels = None if listing.labels is None else torch.tensor([listing.labels[row] for row in kept], dtype=torch.int64)
    names = tuple(listing.names[row] for row in kept)
    masks = None if listing.masks is None else torch.from_numpy(listing.masks[kept])
    return ResidentDataset(
        images=images,
        labels=labels,
        class_names=listing.class_names,
        masks=masks,
        names=names,
        source_rows=tuple(listing.source_rows[row] for row in kept) if listing.source_rows else (),
        broken=broken,
    )


def decode_readable(listing: Listing, config: DataConfig) -> ResidentDataset:
    """Those images of a listing that can be read, in memory, however many are broken."""
    return decode_listing(listing, dataclasses.replace(config, max_broken_fraction=1.0))


def _decode(listing: Listing, config: DataConfig, cache: DecodedCache) -> tuple[Tensor, Tensor]:
    """Pixels (n, 3, S, S) of the rows (n,) that can be read, and those rows."""
    images = torch.empty(len(listing), 3, config.size, config.size, dtype=torch.uint8)
    pixels = images.numpy()
    kept: list[int] = []
    read = partial(read_image, size=config.size, max_pixels=config.max_pixels)
    for row, image in enumerate(each_image(listing.cells, read, "decoding")):
        if image is not None:
            pixels[len(kept)] = image.transpose(2, 0, 1)
            kept.append(row)
    rows = torch.tensor(kept, dtype=torch.int64)
    cache.write(images[: len(kept)], rows)
    return images[: len(kept)], rows
