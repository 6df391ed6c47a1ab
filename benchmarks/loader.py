"""How long a step waits for images that are decoded while it trains: ViT-S/16 at 224 pixels from many JPEGs.

    python benchmarks/loader.py --json docs/results/performance.json

Writes 20,000 JPEGs of 256 pixels into a temporary folder (about 400 MB, a minute), streams them through worker
processes into the training step, and prints the part of the time in which the step had nothing to do. On a GPU the
step is short and the workers are what is measured; `--decode-only` shows how many images a second they give.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import write_record

import mrkd
from mrkd.config import Config
from mrkd.data.dataset import Batch, ImageDataset, training_batches
from mrkd.data.load import load_train
from mrkd.data.sampler import BatchSampler
from mrkd.distributed.fabric import make_fabric
from mrkd.objective.resolve import resolve_terms
from mrkd.train.step import Learner


def write_jpegs(folder: Path, count: int, size: int) -> None:
    """Smooth colours with some noise, which compress about as photographs do; a thousand files per class folder."""
    generator = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class{number // 1000:02d}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), dtype=np.int16)
        noise = generator.integers(-12, 13, (size, size, 1), dtype=np.int16)
        Image.fromarray((image + noise).clip(0, 255).astype(np.uint8)).save(place / f"{number:06d}.jpg", quality=87)


def config_of(folder: Path, batch: int, workers: int | None) -> Config:
    config = mrkd.load_config("cifar10", data__source=str(folder), data__size=224, data__mode="stream")
    views = dataclasses.replace(config.views, local_views=0)
    model = dataclasses.replace(config.model, name="vit_small_patch16_224")
    train = dataclasses.replace(config.train, batch=batch)
    data = dataclasses.replace(config.data, workers=workers, cache=None)
    return dataclasses.replace(config, data=data, views=views, model=model, train=train)


def stream(dataset: ImageDataset, batch: int, steps: int) -> Iterator[tuple[int, Batch]]:
    sampler = BatchSampler(images=len(dataset), batch=batch, seed=0)
    return training_batches(dataset, sampler, start=0, stop=steps)


def measure(config: Config, steps: int, decode_only: bool) -> dict[str, Any]:
    fabric = make_fabric(config)
    dataset = load_train(config.data, fabric.device, config.train.devices)
    batch = config.train.batch
    learner = None if decode_only else Learner(config, resolve_terms(config.objective), fabric, 10_000)
    batches = stream(dataset, batch, steps + 1)
    next(batches)  # the workers' start
    waited_before, started = dataset.waited_seconds, time.perf_counter()
    for taken in range(steps):
        step, ready = next(batches)
        if learner is not None:
            learner.training_step(ready.images, step)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - started
        wait = 100 * (dataset.waited_seconds - waited_before) / spent
        print(f"step {taken + 1}: {(taken + 1) * batch / spent:.1f} images/s, data-wait {wait:.2f} %", flush=True)
    return {
        "images": len(dataset),
        "batch": batch,
        "steps": steps,
        "images_per_second": steps * batch / spent,
        "data_wait_percent": wait,
        "decode_only": decode_only,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--decode-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        write_jpegs(Path(name), options.images, options.pixels)
        print(f"{options.images} JPEGs written in {time.perf_counter() - started:.0f} s", flush=True)
        config = config_of(Path(name), options.batch, options.workers)
        row = measure(config, options.steps, options.decode_only)
    if options.json:
        write_record(options.json, "loader_decode_only" if options.decode_only else "loader", [row])


if __name__ == "__main__":
    main()
