"""What training takes its images from: all of them in memory, or a stream. Axes: B images, S pixels."""

import hashlib
from collections.abc import Generator, Iterable
from typing import Protocol

import torch
from torch import Tensor

from mrkd.config import Config, DataConfig
from mrkd.data.images import streams
from mrkd.data.listing import Listing
from mrkd.data.loader import fingerprint
from mrkd.data.resident import ImageSet, decode_listing, decode_readable
from mrkd.data.sources.find import list_splits
from mrkd.data.sources.splits import sample
from mrkd.data.stream import Batch, Stream, worker_count
from mrkd.data.transfer import to_device
from mrkd.errors import UserError


class Feed(Protocol):
    """Training images."""

    fingerprint: str
    """Changes when the images have changed, but not when they have only been moved."""
    waited_seconds: float
    """Spent waiting for images that were not ready."""
    streams: bool
    """Whether images are decoded while training."""
    ready_ahead: int
    """Most batches that are decoded before they are asked for."""

    @property
    def broken(self) -> list[str]:
        """Names of the images that could not be read, as far as is known."""

    def __len__(self) -> int: ...

    def is_of(self, fingerprint: object) -> bool:
        """Whether a checkpoint with this fingerprint was made on these images."""

    def batches(self, order: Iterable[tuple[int, Tensor]], own: slice) -> Generator[Batch, None, None]:
        """Images of the steps in `order`, which has each step's rows; of them this device gets the places `own`."""

    def some(self, count: int) -> ImageSet:
        """At most `count` images in memory, chosen by `sample`; always the same."""


class ResidentFeed:
    """All images on the device."""

    streams = False
    ready_ahead = 0
    waited_seconds = 0.0

    def __init__(self, listing: Listing, config: DataConfig, device: torch.device) -> None:
        train, broken = decode_listing(listing, config)
        self.fingerprint = fingerprint(train.images)
        self.train = train.to(device)
        self.broken = list(broken)

    def __len__(self) -> int:
        return len(self.train)

    def is_of(self, fingerprint: object) -> bool:
        """See `Feed`."""
        return fingerprint == self.fingerprint

    def batches(self, order: Iterable[tuple[int, Tensor]], own: slice) -> Generator[Batch, None, None]:
        """See `Feed`."""
        for step, rows in order:
            yield Batch(step, rows, self.train.images[to_device(rows[own], self.train.images.device)])

    def some(self, count: int) -> ImageSet:
        """See `Feed`."""
        if len(self.train) <= count:
            return self.train
        return self.train.take(sample(_classes(self.train), count).to(self.train.device))


class StreamedFeed(Stream):
    """Images decoded by worker processes when their step comes."""

    streams = True

    def __init__(self, listing: Listing, config: Config, device: torch.device) -> None:
        data = config.data
        self.config = data
        super().__init__(
            listing,
            size=data.size,
            max_pixels=data.max_pixels,
            most_broken=data.max_broken_fraction * len(listing),
            workers=worker_count(data.workers, config.train.devices, device),
            device=device,
        )
        self.fingerprint = f"{len(listing)}-{data.size}-{_digest(listing)}"
        self.former = f"{len(listing)}-{data.size}-{listing.cells.stamp() or 'unstamped'}"

    def __len__(self) -> int:
        return len(self.listing)

    def is_of(self, fingerprint: object) -> bool:
        """See `Feed`. Older versions kept the stamp of the files, with their place and time of change."""
        return fingerprint in (self.fingerprint, self.former)

    def batches(self, order: Iterable[tuple[int, Tensor]], own: slice) -> Generator[Batch, None, None]:
        """See `Feed`.

        Raises:
            UserError: too many images are broken, or all of a batch.
        """
        for batch in super().batches(order, own):
            if len(batch.broken) == len(batch.images):
                raise UserError(f"no image of the batch of step {batch.step + 1} can be read")
            yield batch

    def some(self, count: int) -> ImageSet:
        """See `Feed`; broken ones among them are left out."""
        chosen = self.listing.take(sample(_classes(self.listing), count).tolist())
        return decode_readable(chosen, self.config).to(self.device)


def _digest(listing: Listing) -> str:
    """Of the images' names inside their source, and their files' names and sizes: not of their place or time."""
    names = "\0".join(listing.names).encode(errors="surrogateescape")
    return hashlib.sha256(names + (listing.cells.stamp(place=False) or "unstamped").encode()).hexdigest()


def _classes(images: ImageSet | Listing) -> Tensor | list[int]:
    """Class of each image, the same for all of them where nobody knows."""
    return [0] * len(images) if images.labels is None else images.labels


def open_feed(config: Config, device: torch.device) -> Feed:
    """Training images in memory, or a stream where they would not fit `data.max_resident_gib`.

    Raises:
        UserError: the source is missing, empty, too broken, or too large for `data.mode: resident`.
    """
    data = config.data
    listing = list_splits(data).train
    return StreamedFeed(listing, config, device) if streams(listing, data) else ResidentFeed(listing, data, device)
