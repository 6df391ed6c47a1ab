"""Listings: names, places and labels of a source's images, before any of them is decoded."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

Cell = bytes | Path | np.ndarray | None
"""One image as it lies in its source: a file's content, its path, RGB pixels (H, W, 3) uint8, or nothing."""


class Cells(Protocol):
    """Cells by row. Reading one may touch the disk, so each is read when it is asked for; it can be pickled."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Cell: ...

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The cells of several rows, which a table reads faster than one after another."""

    def take(self, rows: Sequence[int]) -> "Cells":
        """The cells of these rows, in this order, still unread."""

    def stamp(self, *, place: bool = True) -> str | None:
        """Changes when the images may have changed, without reading them; None when there is nothing to tell by.

        Without `place` it stays the same when the files were moved or copied to another folder.
        """


class KeptCells(list[Cell]):
    """Cells that are small enough to be kept: paths, or the pixels of an embedded set."""

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The cells of these rows."""
        return [self[row] for row in rows]

    def take(self, rows: Sequence[int]) -> "KeptCells":
        """The cells of these rows, in this order."""
        return KeptCells(self.many(rows))

    def stamp(self, *, place: bool = True) -> str | None:
        """Of the paths, sizes and times of the files; None when these cells are no files."""
        return stamp_of(self, place=place) if all(isinstance(cell, Path) for cell in self) else None


def stamp_of(paths: Iterable[Cell], extra: bytes = b"", *, place: bool = True) -> str:
    """A digest of each file's absolute path, size in bytes and time of its last change in nanoseconds.

    Args:
        paths: of the files.
        extra: goes into the digest as well.
        place: whether the files' folder and time count; else their names and sizes alone.
    """
    digest = hashlib.sha256(extra)
    for path in paths:
        assert isinstance(path, Path)
        try:
            state = path.stat()
            text = (
                f"{path.absolute()}\0{state.st_size}\0{state.st_mtime_ns}" if place else f"{path.name}\0{state.st_size}"
            )
            digest.update(f"{text}\0".encode(errors="surrogateescape"))
        except OSError:  # a dead link, which counts as broken when it is read
            digest.update(f"{path.absolute() if place else path.name}\0missing\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


UNLABELLED = -1
"""Stands for the class index of an image that nobody labelled, where others of its split are labelled."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of one split: named, found, not decoded. Everything here has one entry per row."""

    names: list[str]
    """What a person is told when an image is unreadable: its path inside the source, or its row."""
    cells: Cells
    """Where the images are."""
    labels: list[int] | None
    """Class indices, `UNLABELLED` where an image has none; None when no image of the split has one."""
    class_names: tuple[str, ...]
    """Names in the order of the indices; empty without labels."""
    masks: np.ndarray | None = None
    """(n, S, S) bool, True on the object; None when nobody knows where it is."""
    why_unlabelled: str = ""
    """Why images of this split have no label; empty when all have one."""
    source_rows: Sequence[int] = ()
    """Place of each image in the order of the source, split after split; empty where nobody numbered them."""

    def __len__(self) -> int:
        return len(self.names)

    def labelled(self) -> int:
        """The number of images with a label."""
        return 0 if self.labels is None else len(self.labels) - self.labels.count(UNLABELLED)

    def classes(self) -> set[str]:
        """The names of the classes that have an image here."""
        return {self.class_names[label] for label in set(self.labels or ()) if label != UNLABELLED}

    def take(self, rows: Iterable[int]) -> "Listing":
        """The images at `rows`, in that order."""
        chosen = list(rows)
        return dataclasses.replace(
            self,
            names=[self.names[row] for row in chosen],
            cells=self.cells.take(chosen),
            labels=None if self.labels is None else [self.labels[row] for row in chosen],
            masks=None if self.masks is None else self.masks[chosen],
            source_rows=[self.source_rows[row] for row in chosen] if self.source_rows else (),
        )


def missing_file(listing: Listing, row: int) -> str:
    """What to add to the name of an image that cannot be read: that there is no file; empty when there is one."""
    cell = listing.cells[row]
    return f", no file at {cell}" if isinstance(cell, Path) and not os.path.lexists(cell) else ""


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """What a source has of one split, used or not."""

    images: int
    labelled: int
    """Images with a label."""
    why_unlabelled: str
    """Why the others have none; empty when all have one."""
    classes: tuple[str, ...]
    """Sorted names of the classes that have an image here."""
    use: str
    """What becomes of the images, such as `trained on`, `scored` or `left alone`."""


@dataclass(frozen=True, kw_only=True)
class Listings:
    """The images to train on and those that evaluations score."""

    train: Listing
    test: Listing | None
    """None when the source is unlabelled and has no split of its own."""
    name: str
    """Short name for tables, such as `digits`."""
    splits: dict[str, SplitSummary] = dataclasses.field(default_factory=dict)
    """What the source calls train, validation and test, before anything is set aside."""
    notes: tuple[str, ...] = ()
    """One line for each thing that a person may not expect of these images."""
    unscorable: str = ""
    """Why no evaluation by labels is possible; empty when one is."""
