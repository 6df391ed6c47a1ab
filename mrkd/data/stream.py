"""Images that do not fit the memory, decoded and resized by worker processes while the network trains.

The order comes from seed and epoch alone, whatever the number and speed of the workers, so a run that goes on sees the
images it would have seen. Axes: B images, S pixels.
"""

import signal
import time
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mrkd.data.decode import read_image
from mrkd.data.listing import Cells, Listing
from mrkd.errors import UserError
from mrkd.system.cpu import usable_cores

AHEAD = 2
"""Batches that each worker prepares before they are asked for."""


class Batch(NamedTuple):
    """One step's images."""

    step: int
    rows: Tensor
    """(B,) int64 rows of the whole batch, of all devices, in the training set."""
    images: Tensor
    """(b, 3, S, S) uint8: this device's share of them."""
    broken: tuple[int, ...] = ()
    """Places in `images` where another image stands in for one that cannot be read; all places when none can."""


class _Decoded(NamedTuple):
    step: int
    rows: Tensor
    images: Tensor
    broken: tuple[int, ...]
    """Places of images that could not be read; another image of the batch stands in for each."""


class _Decoder(Dataset[_Decoded]):
    """What a worker does: all images of one batch. Its 'index' is a batch's (step, rows of all devices, own rows)."""

    def __init__(self, cells: Cells, size: int, max_pixels: int) -> None:
        self.cells, self.size, self.max_pixels = cells, size, max_pixels

    def __getitem__(self, wanted: tuple[int, Tensor, Tensor]) -> _Decoded:
        step, of_all, own = wanted
        rows = own.tolist()
        pixels = np.empty((len(rows), 3, self.size, self.size), dtype=np.uint8)
        bad = []
        for place, cell in enumerate(self.cells.many(rows)):
            image = read_image(cell, self.size, self.max_pixels)
            if image is None:
                bad.append(place)
            else:
                pixels[place] = image.transpose(2, 0, 1)
        sound = sorted(set(range(len(rows))) - set(bad))
        for place in bad if sound else ():
            # The next sound image of the batch, so that it does not matter which worker met it, or when.
            pixels[place] = pixels[next((other for other in sound if other > place), sound[0])]
        return _Decoded(step, of_all, torch.from_numpy(pixels), tuple(bad))


def _start_worker(number: int) -> None:
    """A worker leaves when its trainer does: signals are the trainer's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Stream:
    """Batches for a run's steps from a listing, decoded by other processes.

    Args:
        listing: the training images.
        size: S.
        max_pixels: see `DataConfig`.
        most_broken: more broken images than this end the run.
        workers: number of processes.
        device: where images are wanted.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        size: int,
        max_pixels: int,
        most_broken: float,
        workers: int,
        device: torch.device,
    ) -> None:
        self.listing, self.device, self.workers = listing, device, workers
        self.decoder = _Decoder(listing.cells, size, max_pixels)
        self.most_broken = most_broken
        self.broken: list[str] = []
        """Names of the images that could not be read so far."""
        self.waited_seconds = 0.0
        """For images that were not ready yet."""
        self.ready_ahead = AHEAD * workers
        """Most batches that are decoded before they are asked for."""
        self._copying = torch.cuda.Stream(device) if device.type == "cuda" else None

    def batches(self, order: Iterable[tuple[int, Tensor]], own: slice) -> Generator[Batch, None, None]:
        """Images of the steps in `order`, which has each step's rows; of them this device gets the places `own`.

        Raises:
            UserError: too many images are broken.
        """
        loader = DataLoader(
            self.decoder,
            batch_size=None,
            sampler=((step, rows, rows[own]) for step, rows in order),
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # by default it would take a number from the one that draws views
        )
        ready = iter(loader)
        upcoming = self._fetch(ready, own)
        while upcoming is not None:
            batch, upcoming = upcoming, None
            self._arrived(batch)
            # Its copy to the device runs beside this batch's step.
            upcoming = self._fetch(ready, own) if self._copying is not None else None
            yield batch
            if self._copying is None:
                upcoming = self._fetch(ready, own)

    def _fetch(self, ready: Iterator[_Decoded], own: slice) -> Batch | None:
        started = time.perf_counter()
        try:
            decoded = next(ready, None)
        except RuntimeError as error:
            raise UserError(f"a worker that decodes images has ended: {' '.join(str(error).split())[:200]}") from None
        self.waited_seconds += time.perf_counter() - started
        if decoded is None:
            return None
        self._note(decoded.rows[own][list(decoded.broken)].tolist())
        if self._copying is None:
            return Batch(decoded.step, decoded.rows, decoded.images.to(self.device), decoded.broken)
        with torch.cuda.stream(self._copying):
            images = decoded.images.to(self.device, non_blocking=True)
            return Batch(decoded.step, decoded.rows, images, decoded.broken)

    def _arrived(self, batch: Batch) -> None:
        if self._copying is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._copying)
            batch.images.record_stream(current)

    def _note(self, rows: list[int]) -> None:
        names = [self.listing.names[row] for row in rows]
        new = [name for name in names if name not in self.broken]
        self.broken += new
        if len(self.broken) > self.most_broken:
            raise UserError(
                f"{len(self.broken)} of {len(self.listing)} images cannot be read so far (first: {self.broken[0]}), "
                "more than data.max_broken_fraction allows"
            )


def worker_count(asked: int | None, processes: int, device: torch.device) -> int:
    """As asked; otherwise the cores shared out among the training processes, half of them where these train too."""
    if asked is not None:
        return asked
    return max(1, min(16, usable_cores() // processes // (2 if device.type == "cpu" else 1)))
