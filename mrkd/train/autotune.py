"""Choose the batch size for `--batch-size auto`, and the number of steps for `--minutes`.

They are chosen once, before the run directory is written. Its config has the numbers, and a resumed run reads them.
"""

import contextlib
import dataclasses
import gc
import itertools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mrkd.config import Config, Term
from mrkd.data.dataset import ImageDataset, sample_in_memory, training_batches
from mrkd.data.resident import ResidentDataset
from mrkd.data.sampler import BatchSampler
from mrkd.data.sources.find import list_splits
from mrkd.distributed.fabric_package import Fabric
from mrkd.distributed.gather import local_slice
from mrkd.errors import UserError
from mrkd.optim.schedules import scaled_learning_rate
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import CHECKPOINTS, RunDirectory
from mrkd.train.monitor import FeatureMonitor
from mrkd.train.step import Learner

STEPS_PER_EPOCH = 16
"""An automatic batch leaves at least so many steps in a pass over the images, unless it is the smallest."""
SMALLEST, LARGEST_ON_CPU, LARGEST = 32, 256, 4096
"""Bounds of an automatic batch, in images."""
FEWEST = 4
"""A training has at least so many images: of two, the relation, a distance over the mean distance, is always 1."""
MEMORY_FRACTION = 0.9
"""Part of a device's memory that an automatic batch may take."""
WARMUP_STEPS, MEASURED_SECONDS, MEASURED_STEPS = 2, 3.0, 20
"""A step is timed after so many others, for about so long, at most so often."""
MARGIN = 0.95
"""Part of the time that is planned for steps and measurements; the rest is for checkpoints and the end of the run."""


def recall(config: Config, out: str | os.PathLike[str]) -> Config:
    """The config with the numbers that were chosen when the run in `out` was started, if there is one."""
    run = RunDirectory(out)
    if not run.started:
        return config
    stored, train = run.config().train, config.train
    if train.auto_batch:
        train = dataclasses.replace(train, auto_batch=False, batch=stored.batch)
    elif train.batch > stored.batch and _was_too_large(config, stored.batch):
        train = dataclasses.replace(train, batch=stored.batch)
    if train.minutes is not None and stored.steps is not None:
        train = dataclasses.replace(train, minutes=None, steps=stored.steps)
    return dataclasses.replace(config, train=train)


def _was_too_large(config: Config, stored: int) -> bool:
    """Whether the batch of `config` gave way to the smaller stored one, because there are fewer images."""
    images = len(list_splits(config.data).train)
    readable = images * (1 - config.data.max_broken_fraction)  # at least
    return readable < config.train.batch and stored <= images


def resolve(config: Config, terms: tuple[Term, ...], dataset: ImageDataset, fabric: Fabric, started: float) -> Config:
    """The config with numbers for `train.auto_batch` and `train.minutes`; prints what was chosen and why.

    A batch of more images than there are becomes the automatic one.

    Args:
        config: of a new run.
        terms: of its method.
        dataset: the images to train on.
        fabric: launched; its random generators are seeded anew when steps were tried.
        started: `time.monotonic()` when the time budget began.
    Raises:
        UserError: the time is too short for any step, or there are fewer images than `FEWEST`.
    """
    if terms and len(dataset) < FEWEST:
        raise UserError(f"training needs at least {FEWEST} images, because it compares them, got {len(dataset)}")
    say: Callable[[str], None] = print if fabric.is_global_zero else lambda text: None
    if config.train.auto_batch:
        batch, reason = _choose_batch(config, terms, dataset, fabric)
        say(f"batch {batch}: {reason}")
        config = _with(config, auto_batch=False, batch=batch)
    elif config.train.batch > len(dataset):
        batch = batch_by_images(len(dataset), config.train.batch, config.train.processes)
        say(f"batch {batch}: there are only {len(dataset):,} images, fewer than train.batch = {config.train.batch}")
        config = _with(config, batch=batch)
    if config.train.minutes is not None:
        if terms:
            steps, reason = _fit_steps(config, terms, dataset, fabric, started)
            say(f"steps {steps}: {reason}")
            config = _with(config, steps=steps)
        config = _with(config, minutes=None)
    if terms:
        say(learning_rate_rule(config))
    fabric.seed_everything(config.train.seed, verbose=False)
    return config


def sampler_of(config: Config, images: int) -> BatchSampler:
    """The order of a run with so many training images.

    Raises:
        UserError: they are fewer than a batch.
    """
    return BatchSampler(images=images, batch=config.train.batch, seed=config.train.seed)


def run_length(config: Config, images: int) -> int:
    """The number of steps of a run with so many training images."""
    each = sampler_of(config, images).steps_per_epoch
    return each * config.train.epochs if config.train.steps is None else config.train.steps


def without_replaced_weights(config: Config, out: str | os.PathLike[str]) -> Config:
    """The config without `model.weights` if a checkpoint replaces them, because that file may be gone."""
    if config.model.weights is None or not Checkpoints(Path(out) / CHECKPOINTS, keep=1).listed():
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, weights=None))


def learning_rate_rule(config: Config) -> str:
    """A sentence on how the batch scales the learning rate of this run."""
    peak = scaled_learning_rate(config.optim, config.train.batch)
    return f"learning rate {config.optim.learning_rate:g} x batch {config.train.batch} / 256 = {peak:.3g} at its peak"


def _with(config: Config, **changes: object) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))  # type: ignore[arg-type]


def _choose_batch(config: Config, terms: tuple[Term, ...], dataset: ImageDataset, fabric: Fabric) -> tuple[int, str]:
    devices, on_cpu = config.train.processes, fabric.device.type == "cpu"
    most = LARGEST_ON_CPU if on_cpu else LARGEST
    limit = batch_limit(len(dataset), most)
    rule = f"a power of two, at most {most}, for {STEPS_PER_EPOCH} steps or more in a pass over {len(dataset):,} images"
    if on_cpu or not terms:
        return batch_by_images(len(dataset), most, devices), rule
    if devices > 1:
        raise UserError("train.batch: auto tries steps on one device; with several, give a number")
    batch = min(SMALLEST, limit)
    while 2 * batch <= limit:
        if not _fits(
            _with(config, batch=2 * batch), terms, sample_in_memory(dataset, config.train.monitor_images), fabric
        ):
            return batch, f"{2 * batch} would take more than {MEMORY_FRACTION:.0%} of the device's memory"
        batch *= 2
    return batch, rule


def with_one_batch(config: Config) -> Config:
    """The config with a number for a batch that is automatic or too large, chosen by the number of images alone.

    So all methods have the same batch.
    """
    images = len(list_splits(config.data).train)
    if not config.train.auto_batch and config.train.batch <= images:
        return config
    most = LARGEST_ON_CPU if config.train.auto_batch else config.train.batch
    batch = batch_by_images(images, most, config.train.processes)
    print(f"batch {batch} for all, by the number of images, {images:,}", flush=True)
    return _with(config, auto_batch=False, batch=batch)


def batch_by_images(images: int, most: int, devices: int) -> int:
    """The automatic batch if memory does not limit it: a power of two for each device."""
    return devices * _power_of_two(batch_limit(images, most) // devices)


def batch_limit(images: int, most: int) -> int:
    """The largest automatic batch for so many images: a power of two."""
    return _power_of_two(min(most, max(SMALLEST, images // STEPS_PER_EPOCH), max(FEWEST, images // 2)))


def _power_of_two(limit: int) -> int:
    return max(2, 1 << (max(limit, 1).bit_length() - 1))


def _fits(config: Config, terms: tuple[Term, ...], images: ResidentDataset, fabric: Fabric) -> bool:
    """Whether two steps with this batch leave some of the device's memory free."""
    torch.cuda.reset_peak_memory_stats(fabric.device)
    try:
        learner = Learner(config, terms, fabric, steps=2)
        for step in range(2):  # the optimizer's moments come with the first
            learner.training_step(_trial_batch(images, config, fabric), step)
        torch.cuda.synchronize(fabric.device)
    except torch.OutOfMemoryError:
        return False
    finally:
        learner = None  # type: ignore[assignment]
        gc.collect()
        torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(fabric.device).total_memory
    return torch.cuda.max_memory_allocated(fabric.device) <= MEMORY_FRACTION * total


def _trial_batch(images: ResidentDataset, config: Config, fabric: Fabric) -> Tensor:
    """This device's part of a batch made of these images, which are repeated if they are fewer."""
    rows = torch.arange(config.train.batch) % len(images)
    return images.images[rows[local_slice(config.train.batch)].to(images.images.device)].to(fabric.device)


def _fit_steps(
    config: Config, terms: tuple[Term, ...], dataset: ImageDataset, fabric: Fabric, started: float
) -> tuple[int, str]:
    assert config.train.minutes is not None
    each = sampler_of(config, len(dataset)).steps_per_epoch  # refuses a batch larger than the set
    learner = Learner(config, terms, fabric, steps=1000)
    step_seconds = _time_steps(learner, dataset, config, fabric)
    monitor = FeatureMonitor(sample_in_memory(dataset, config.train.monitor_images).to(fabric.device), config)
    before = time.monotonic()
    monitor.measure(learner.pair)
    measure_seconds, times = time.monotonic() - before, config.train.monitor_times + 1
    left = config.train.minutes * 60 - (time.monotonic() - started)
    steps = int(fabric.broadcast(math.floor((MARGIN * left - times * measure_seconds) / step_seconds)))
    if steps < config.train.log_steps:
        raise UserError(
            f"train.minutes = {config.train.minutes:g} is too short: {left:.0f} s are left, a step takes "
            f"{step_seconds:.2f} s and each of {times} measurements of the features {measure_seconds:.1f} s"
        )
    passes = steps / each
    return steps, (
        f"{passes:.1f} passes over the images; {left / 60:.1f} minutes are left, a step takes {step_seconds:.3f} s "
        f"and each of {times} measurements of the features {measure_seconds:.1f} s"
    )


def _time_steps(learner: Learner, dataset: ImageDataset, config: Config, fabric: Fabric) -> float:
    """Seconds of a step, including the wait for its images. Steps that compile and allocate are not timed.

    Batches that a stream has ready before they are asked for are used up first: they would hide a slow decoder. All
    devices take the same number of steps.
    """
    skipped = WARMUP_STEPS + dataset.batches_ahead
    train, most = config.train, skipped + MEASURED_STEPS
    sampler, local = sampler_of(config, len(dataset)), local_slice(train.batch)
    with contextlib.closing(training_batches(dataset, sampler, start=0, stop=most, local=local)) as batches:

        def timed(count: int) -> float:
            before = time.monotonic()
            for step, batch in itertools.islice(batches, count):
                learner.training_step(batch.images, step).losses.total.item()
            return (time.monotonic() - before) / count

        timed(skipped - 1)
        one = timed(1)
        return timed(int(fabric.broadcast(min(MEASURED_STEPS, max(1, round(MEASURED_SECONDS / one))))))
