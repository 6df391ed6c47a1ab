"""One split of images as training and evaluations read it: held in memory, or decoded whenever it is read.

Axes: n images, B of them in a batch, b of these on this device, S pixels.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from mrkd.data.sampler import BatchSampler
from mrkd.data.sources.splits import sample
from mrkd.errors import UserError

if TYPE_CHECKING:
    from mrkd.data.resident import ResidentDataset

WHOLE_BATCH = slice(None)
"""This device's part of a batch where there is only one device."""


class Batch(NamedTuple):
    """The images of one batch."""

    indices: Tensor
    """(B,) int64 indices into the dataset, of all devices."""
    images: Tensor
    """(b, 3, S, S) uint8: this device's images."""
    broken: tuple[int, ...] = ()
    """Positions in `images` of files that cannot be read. Another image of the batch replaces each, if any is sound."""


class ImageDataset(Protocol):
    """What `ResidentDataset` and `StreamedDataset` have in common."""

    @property
    def labels(self) -> Tensor | None:
        """(n,) int64 class indices on the device, -1 for an unlabelled image; None when no image has a label."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the indices; empty without labels."""

    @property
    def names(self) -> Sequence[str]:
        """(n) where each image comes from: its path inside the source, or its row."""

    @property
    def source_rows(self) -> Sequence[int]:
        """(n) position of each image in the order of the source; empty for images from elsewhere."""

    @property
    def masks(self) -> Tensor | None:
        """(n, S, S) bool, True on the object; None when the source has no masks."""

    @property
    def size(self) -> int:
        """S."""

    @property
    def device(self) -> torch.device:
        """Where batches and labels are."""

    @property
    def fingerprint(self) -> str:
        """Changes when the images have changed, but not when they were only moved."""

    def has_fingerprint(self, fingerprint: object) -> bool:
        """Whether a checkpoint with this fingerprint was made on these images."""

    @property
    def broken(self) -> list[str]:
        """Names of the images that could not be read, as far as is known."""

    @property
    def streamed(self) -> bool:
        """Whether images are decoded when they are read."""

    @property
    def batches_ahead(self) -> int:
        """The most batches that are decoded before they are asked for."""

    @property
    def waited_seconds(self) -> float:
        """Time spent waiting for images that were not decoded yet."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Self:
        """The images at `index` (int64), in that order."""

    def require_labels(self, what_for: str) -> Tensor:
        """The labels, or a UserError that says what needed them."""

    def batches(self, order: Iterable[Tensor], local: slice = WHOLE_BATCH) -> Generator[Batch, None, None]:
        """The batch of each index tensor (B,) in `order`.

        Args:
            order: indices of the images of all devices.
            local: this device's part of each index tensor.
        Raises:
            UserError: more images are broken than `data.max_broken_fraction` allows.
        """

    def in_memory(self) -> "ResidentDataset":
        """The images that can be read, on the same device. However many are broken, they are left out."""


def training_batches(
    dataset: ImageDataset, sampler: BatchSampler, *, start: int, stop: int, local: slice = WHOLE_BATCH
) -> Generator[tuple[int, Batch], None, None]:
    """The steps from `start` to `stop`, counted from 0, each with its batch.

    Raises:
        UserError: too many images are broken, or all of a batch.
    """
    for step, batch in enumerate(dataset.batches(sampler.steps(start, stop), local), start):
        if batch.broken and len(batch.broken) == len(batch.images):
            raise UserError(f"no image of the batch of step {step + 1} can be read")
        yield step, batch


def readable_batches(dataset: ImageDataset, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices (B,) on the device and images (B, 3, S, S), without broken images and without batches that have no other.

    Raises:
        UserError: too many images are broken.
    """
    for batch in dataset.batches(order):
        index = batch.indices.to(dataset.device)
        if not batch.broken:
            yield index, batch.images
        elif len(batch.broken) < len(index):
            sound = torch.ones(len(index), dtype=torch.bool, device=dataset.device)
            sound[list(batch.broken)] = False
            yield index[sound], batch.images[sound]


def in_order(dataset: ImageDataset, batch: int | None = None) -> Iterator[Tensor]:
    """Index tensors of all images, one after another, `batch` at a time.

    By default 512, or as many as make 32 MiB of pixels: each worker of a stream has several batches under way.
    """
    batch = batch or max(1, min(512, 2**25 // (3 * dataset.size**2)))
    for start in range(0, len(dataset), batch):
        yield torch.arange(start, min(start + batch, len(dataset)))


def sample_in_memory(dataset: ImageDataset, count: int) -> "ResidentDataset":
    """At most `count` of the images, in memory, chosen by `sample`: always the same ones."""
    if len(dataset) <= count:
        return dataset.in_memory()
    classes = [0] * len(dataset) if dataset.labels is None else dataset.labels
    return dataset.take(sample(classes, count)).in_memory()


def need_labels(labels: Tensor | None, what_for: str) -> Tensor:
    """The labels, or a UserError that says what needed them."""
    if labels is None:
        raise UserError(f"{what_for} needs labels, but these images have none: use class folders or a label column")
    return labels
