"""Read each image of a split once, and collect the facts that `mrkd data` prints."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from mrkd.config import DataConfig
from mrkd.data.decode import Header, read_header, read_image
from mrkd.data.listing import Cell, Listing
from mrkd.data.thread_pool import each_image

EMPTY_DEVIATION = 3.0
"""An image whose brightness deviates by less than so many of 255 levels shows nothing."""


class _Seen(NamedTuple):
    header: Header | None
    pixels: np.ndarray | None


@dataclass(kw_only=True)
class Look:
    """What was seen in one split; lists of rows are ascending."""

    listing: Listing
    headers: dict[int, Header] = field(default_factory=dict)
    """By row, of the images that could be read."""
    broken: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    """Rows of images of one colour, or nearly so."""
    first_of: dict[bytes, int] = field(default_factory=dict)
    """Digest of the decoded pixels to the first row that has them."""
    copies: dict[int, int] = field(default_factory=dict)
    """Row to the earlier row that has the same pixels."""
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    """Pixels (S, S, 3) of the rows that were asked for."""
    sums: np.ndarray = field(default_factory=lambda: np.zeros((2, 3)))
    """(2, 3) sums over images of the mean and mean square of each channel, in [0, 1]."""

    def class_counts(self) -> dict[str, int]:
        """Images by class, in the order of the classes; empty without labels. Unlabelled images are not counted."""
        counts = Counter(self.listing.labels or ())
        return {name: counts[index] for index, name in enumerate(self.listing.class_names)}

    def names(self, rows: list[int]) -> list[str]:
        """What a person calls these rows."""
        return [self.listing.names[row] for row in rows]


def look_at(listing: Listing, config: DataConfig, keep: set[int], title: str) -> Look:
    """Decode every image once, as training would, and keep the pixels of the rows in `keep`."""
    look = Look(listing=listing)
    for row, seen in enumerate(each_image(listing.cells, partial(_see, config=config), title)):
        if seen.header is None or seen.pixels is None:
            look.broken.append(row)
        else:
            _note(look, row, seen.header, seen.pixels)
            if row in keep:
                look.kept[row] = seen.pixels
    return look


def _see(cell: Cell, config: DataConfig) -> _Seen:
    return _Seen(read_header(cell), read_image(cell, config.size, config.max_pixels))


def _note(look: Look, row: int, header: Header, pixels: np.ndarray) -> None:
    look.headers[row] = header
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
    first = look.first_of.setdefault(digest, row)
    if first != row:
        look.copies[row] = first
    if pixels.mean(axis=2).std() < EMPTY_DEVIATION:
        look.empty.append(row)
    scaled = pixels.reshape(-1, 3) / 255.0
    look.sums += np.stack([scaled.mean(axis=0), np.square(scaled).mean(axis=0)])
