"""Batches of indices over a resident set, in an order that the seed and the epoch decide."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mrkd.errors import UserError


def steps_per_epoch(images: int, batch: int) -> int:
    """Full batches in one pass; the rest of a pass is left out, as relations need equal batches.

    Raises:
        UserError: the batch is larger than the set.
    """
    if batch > images:
        raise UserError(f"train.batch must be at most the {images} training images, got {batch}")
    return images // batch


def epoch_batches(images: int, batch: int, *, seed: int, epoch: int) -> Iterator[Tensor]:
    """Index tensors (B,) int64 of one epoch, shuffled by (seed, epoch)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(images, generator=generator)
    yield from order[: steps_per_epoch(images, batch) * batch].split(batch)
