"""Images that stay in their files, decoded and resized by worker processes while the network computes.

Which image comes when does not depend on the number and speed of the workers.
Axes: n images, B of them in a batch, b of these on this device, S pixels.
"""

import hashlib
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mrkd.config import DataConfig
from mrkd.data.dataset import WHOLE_BATCH, Batch, need_labels
from mrkd.data.decode import read_image
from mrkd.data.listing import Cells, Listing
from mrkd.data.resident import ResidentDataset, decode_readable
from mrkd.errors import UserError
from mrkd.system.cpu import usable_cores

BATCHES_PER_WORKER = 2
"""Batches that each worker prepares before they are asked for."""


class _BatchDecoder(Dataset[Batch]):
    """What a worker process does: decode the images of one batch.

    Its 'index' is a pair of index tensors: (B,) of all devices, and (b,) of this device.
    """

    def __init__(self, cells: Cells, size: int, max_pixels: int) -> None:
        self.cells, self.size, self.max_pixels = cells, size, max_pixels

    def __getitem__(self, indices: tuple[Tensor, Tensor]) -> Batch:
        index, local_index = indices
        rows = local_index.tolist()
        pixels = np.empty((len(rows), 3, self.size, self.size), dtype=np.uint8)
        broken = []
        for position, cell in enumerate(self.cells.many(rows)):
            image = read_image(cell, self.size, self.max_pixels)
            if image is None:
                broken.append(position)
            else:
                pixels[position] = image.transpose(2, 0, 1)
        sound = sorted(set(range(len(rows))) - set(broken))
        for position in broken if sound else ():
            # The next sound image of the batch, so that it does not matter which worker met it, or when.
            pixels[position] = pixels[next((other for other in sound if other > position), sound[0])]
        return Batch(index, torch.from_numpy(pixels), tuple(broken))


def _start_worker(number: int) -> None:
    """Workers ignore signals: they end when the process that started them does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class StreamedDataset:
    """Images of one split that stay in their files. See `ImageDataset`.

    Args:
        listing: the images.
        config: their size, and how many may be broken.
        device: where batches are wanted.
        max_broken: more broken images than this end a pass; by default the fraction that `config` allows.
        processes: training processes that share this machine's cores.
    """

    streamed = True

    def __init__(
        self,
        listing: Listing,
        config: DataConfig,
        *,
        device: torch.device,
        max_broken: float | None = None,
        processes: int = 1,
    ) -> None:
        self.listing, self.config, self.device, self.processes = listing, config, device, processes
        self.max_broken = config.max_broken_fraction * len(listing) if max_broken is None else max_broken
        self.workers = worker_count(config.workers, processes, device)
        self.batches_ahead = BATCHES_PER_WORKER * self.workers
        self.broken: list[str] = []
        self.waited_seconds = 0.0
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @property
    def labels(self) -> Tensor | None:
        """See `ImageDataset`."""
        labels = self.listing.labels
        return None if labels is None else torch.tensor(labels, dtype=torch.int64, device=self.device)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `ImageDataset`."""
        return self.listing.class_names

    @property
    def names(self) -> tuple[str, ...]:
        """See `ImageDataset`."""
        return tuple(self.listing.names)

    @property
    def source_rows(self) -> Sequence[int]:
        """See `ImageDataset`."""
        return self.listing.source_rows

    @property
    def masks(self) -> Tensor | None:
        """See `ImageDataset`."""
        return None if self.listing.masks is None else torch.from_numpy(self.listing.masks)

    @property
    def size(self) -> int:
        """See `ImageDataset`."""
        return self.config.size

    @cached_property
    def fingerprint(self) -> str:
        """Of the number of images, their size and names, and the names and sizes of their files; none is read."""
        names = "\0".join(self.listing.names).encode(errors="surrogateescape")
        digest = hashlib.sha256(names + (self.listing.cells.stamp(place=False) or "unstamped").encode())
        return f"{len(self.listing)}-{self.size}-{digest.hexdigest()}"

    def has_fingerprint(self, fingerprint: object) -> bool:
        """See `ImageDataset`. Older versions stored a stamp that includes the folder and the time of change."""
        former = f"{len(self.listing)}-{self.size}-{self.listing.cells.stamp() or 'unstamped'}"
        return fingerprint in (self.fingerprint, former)

    def __len__(self) -> int:
        return len(self.listing)

    def take(self, index: Tensor) -> "StreamedDataset":
        """See `ImageDataset`. As many images may be broken as in the whole: a part of it may have them all."""
        return StreamedDataset(
            self.listing.take(index.tolist()),
            self.config,
            device=self.device,
            max_broken=self.max_broken,
            processes=self.processes,
        )

    def require_labels(self, what_for: str) -> Tensor:
        """The labels, or a UserError that says what needed them."""
        return need_labels(self.labels, what_for)

    def in_memory(self) -> ResidentDataset:
        """See `ImageDataset`."""
        return decode_readable(self.listing, self.config).to(self.device)

    def batches(self, order: Iterable[Tensor], local: slice = WHOLE_BATCH) -> Generator[Batch, None, None]:
        """See `ImageDataset`; worker processes decode ahead."""
        loader = DataLoader(
            _BatchDecoder(self.listing.cells, self.size, self.config.max_pixels),
            batch_size=None,
            sampler=((index, index[local]) for index in order),
            num_workers=self.workers,
            prefetch_factor=BATCHES_PER_WORKER,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # by default it would take a number from the one that draws views
        )
        decoded = iter(loader)
        upcoming = self._fetch(decoded, local)
        while upcoming is not None:
            batch, upcoming = upcoming, None
            self._wait_for_copy(batch)
            # Its copy to the device runs beside this batch's step.
            upcoming = self._fetch(decoded, local) if self._copy_stream is not None else None
            yield batch
            if self._copy_stream is None:
                upcoming = self._fetch(decoded, local)

    def _fetch(self, decoded: Iterator[Batch], local: slice) -> Batch | None:
        started = time.perf_counter()
        try:
            batch = next(decoded, None)
        except RuntimeError as error:
            raise UserError(f"a worker that decodes images has ended: {' '.join(str(error).split())[:200]}") from None
        self.waited_seconds += time.perf_counter() - started
        if batch is None:
            return None
        self._count_broken(batch.indices[local][list(batch.broken)].tolist())
        if self._copy_stream is None:
            return batch._replace(images=batch.images.to(self.device))
        with torch.cuda.stream(self._copy_stream):
            return batch._replace(images=batch.images.to(self.device, non_blocking=True))

    def _wait_for_copy(self, batch: Batch) -> None:
        if self._copy_stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._copy_stream)
            batch.images.record_stream(current)

    def _count_broken(self, rows: list[int]) -> None:
        names = [self.listing.names[row] for row in rows]
        self.broken += [name for name in names if name not in self.broken]
        if len(self.broken) > self.max_broken:
            raise UserError(
                f"{len(self.broken)} of {len(self.listing)} images cannot be read so far (first: {self.broken[0]}), "
                "more than data.max_broken_fraction allows"
            )


def worker_count(asked: int | None, processes: int, device: torch.device) -> int:
    """The number of workers in the config; otherwise the cores divided among the training processes, half of them if
    these compute on the CPU too."""
    if asked is not None:
        return asked
    return max(1, min(16, usable_cores() // processes // (2 if device.type == "cpu" else 1)))
