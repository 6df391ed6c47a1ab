"""The order in which training meets its images."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mrkd.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BatchSampler:
    """Full batches of image indices, shuffled anew in every epoch.

    The order depends on `seed` and the epoch alone, so a run that is resumed meets the images that it would have met.

    Raises:
        UserError: the batch is larger than the set.
    """

    images: int
    """In the set."""
    batch: int
    """B, over all devices."""
    seed: int

    def __post_init__(self) -> None:
        if self.batch > self.images:
            raise UserError(f"train.batch must be at most the {self.images} training images, got {self.batch}")

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass. The rest of a pass is left out, because relations need batches of equal size."""
        return self.images // self.batch

    def epoch(self, epoch: int) -> tuple[Tensor, ...]:
        """The batches of one pass: index tensors (B,) int64."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.images, generator=generator)
        return order[: self.steps_per_epoch * self.batch].split(self.batch)

    def steps(self, start: int, stop: int) -> Iterator[Tensor]:
        """The batches of the steps from `start` to `stop`, counted over all epochs: index tensors (B,) int64."""
        step = start
        while step < stop:
            epoch, done = divmod(step, self.steps_per_epoch)
            for index in self.epoch(epoch)[done : done + stop - step]:
                yield index
                step += 1
