"""Cells of parquet files by row. A file is read by row groups, the smallest part that parquet can find by itself."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrkd.data.listing import Cell, stamp_of
from mrkd.data.sources.columns import image_of

KEPT_BYTES = 128 * 2**20
"""Of row groups that a process keeps in memory, the last ones read. A larger group is read in batches instead."""
BATCH = 32
"""Rows of such a batch: photographs of a few megabytes must not fill the memory."""


class RowGroup(NamedTuple):
    """One row group of a file."""

    path: Path
    number: int
    """Within its file."""
    rows: int
    bytes: int
    """Of its images, uncompressed."""


class ParquetCells:
    """The image column of parquet files; rows stay on the disk until they are asked for."""

    def __init__(self, groups: Sequence[RowGroup], column: str, rows: np.ndarray | None = None) -> None:
        """Args: groups, in the order of the rows; column, its name; rows (n,) int64 of all, or None for all."""
        self.groups, self.column = groups, column
        self.first_rows = np.cumsum([0, *(group.rows for group in groups)])
        self.rows = np.arange(self.first_rows[-1], dtype=np.int64) if rows is None else rows
        self._reader: _Reader | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Cell:
        return self.many([row])[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The cells of several rows; each row group is read once, and those read last are kept.

        Rows of a damaged row group are None, which counts as unreadable images.
        """
        if self._reader is None or self._reader.process != os.getpid():  # open files are not for a forked process
            self._reader = _Reader(self.column, os.getpid())
        wanted = self.rows[list(rows)]
        numbers = np.searchsorted(self.first_rows, wanted, side="right") - 1
        cells: list[Cell] = [None] * len(wanted)
        for number in np.unique(numbers):
            group = self.groups[number]
            indices = np.flatnonzero(numbers == number)
            indices = indices[np.argsort(wanted[indices], kind="stable")]
            inside = group.path.resolve().parent
            values = self._reader.read(group, (wanted[indices] - self.first_rows[number]).tolist())
            for index, value in zip(indices.tolist(), values, strict=False):
                cells[index] = image_of(value, inside)
        return cells

    def take(self, rows: Sequence[int]) -> "ParquetCells":
        """The same files with other rows."""
        return ParquetCells(self.groups, self.column, self.rows[list(rows)])

    def stamp(self, *, place: bool = True) -> str:
        """Of the parquet files, the column and the rows."""
        paths = dict.fromkeys(group.path for group in self.groups)
        return stamp_of(paths, self.column.encode() + self.rows.tobytes(), place=place)


@dataclass
class _Scan:
    """How far a large row group has been read."""

    group: RowGroup
    batches: Iterator[Any]
    first_row: int = 0
    """Of `column`, within the group."""
    column: Any = ()


class _Reader:
    """Open files and what has been read last; belongs to one process."""

    def __init__(self, column: str, process: int) -> None:
        self.column, self.process = column, process
        self._kept: OrderedDict[RowGroup, Any] = OrderedDict()
        self._scan: _Scan | None = None

    def read(self, group: RowGroup, rows: list[int]) -> Iterator[Any]:
        """The values of these ascending rows of a group; it ends early where the file is damaged."""
        from pyarrow import ArrowException

        try:
            yield from self._scanned(group, rows) if group.bytes > KEPT_BYTES else self._whole(group, rows)
        except (ArrowException, OSError, IndexError):  # IndexError: it has fewer rows than its footer says
            self._scan = None

    def _whole(self, group: RowGroup, rows: list[int]) -> Iterator[Any]:
        if group not in self._kept:
            while self._kept and sum(kept.bytes for kept in self._kept) + group.bytes > KEPT_BYTES:
                self._kept.popitem(last=False)
            table = _open(group.path).read_row_group(group.number, columns=[self.column], use_threads=False)
            self._kept[group] = table[self.column]
        self._kept.move_to_end(group)
        yield from (_value(self._kept[group][row]) for row in rows)

    def _scanned(self, group: RowGroup, rows: list[int]) -> Iterator[Any]:
        scan = self._scan
        for row in rows:
            if scan is None or scan.group != group or row < scan.first_row:
                batches = _open(group.path).iter_batches(
                    BATCH, row_groups=[group.number], columns=[self.column], use_threads=False
                )
                self._scan = scan = _Scan(group, batches)
            while row >= scan.first_row + len(scan.column):
                scan.first_row += len(scan.column)
                batch = next(scan.batches, None)
                if batch is None:
                    raise IndexError(row)
                scan.column = batch[self.column]
            yield _value(scan.column[row - scan.first_row])


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:  # a path that is no UTF-8
        return None


def _open(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path, buffer_size=2**18)
