"""Batches of indices over a resident set, in an order that the seed and the epoch decide."""

import zlib
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


def batches_from(step: int, steps: int, images: int, batch: int, *, seed: int) -> Iterator[tuple[int, Tensor]]:
    """(step, index) for the rest of a run of `steps` steps, from the middle of an epoch if need be."""
    each = steps_per_epoch(images, batch)
    while step < steps:
        epoch, done = divmod(step, each)
        for index in list(epoch_batches(images, batch, seed=seed, epoch=epoch))[done : done + steps - step]:
            yield step, index
            step += 1


def fingerprint(images: Tensor) -> str:
    """Shape and CRC-32 of resident uint8 images: tells whether they are still those a checkpoint was made on."""
    return f"{'x'.join(map(str, images.shape))}-{zlib.crc32(images.cpu().contiguous().numpy().data):08x}"
