"""Apply a function to every image of a source, with one thread per core."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mrkd.data.listing import Cell, Cells
from mrkd.system.cpu import usable_cores
from mrkd.system.progress import QUIET_SECONDS, Bar

CHUNK = 128
"""Rows read from a source at a time: photographs of a few megabytes must not fill the memory."""
SHARE = 8
"""Images that a thread takes at a time."""
Result = TypeVar("Result")


def each_image(cells: Cells, work: Callable[[Cell], Result], title: str) -> Iterator[Result]:
    """Apply `work` to every cell and yield the results in order; long work shows its progress under `title`.

    Threads, because Pillow decodes and resizes outside Python's lock: photographs gain one core's worth per thread.
    Thumbnails gain nothing, and processes would cost seconds before the first image.
    """

    def several(part: list[Cell]) -> list[Result]:
        return [work(cell) for cell in part]

    with ThreadPoolExecutor(usable_cores()) as pool, Bar(title, len(cells), quiet_seconds=QUIET_SECONDS) as bar:
        for start in range(0, len(cells), CHUNK):
            part = cells.many(range(start, min(start + CHUNK, len(cells))))
            for results in pool.map(several, [part[first : first + SHARE] for first in range(0, len(part), SHARE)]):
                yield from results
            bar.advance("images", len(part))
