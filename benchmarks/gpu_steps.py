"""Training steps on a GPU, whole pipeline: images a second, utilisation, waits of the host, memory, and a profile.

    python benchmarks/gpu_steps.py --data PATH/cifar10 --out steps.json            on a CUDA device, about 3 minutes
    python benchmarks/gpu_steps.py --data digits --out /tmp/s.json --dry-run       tiny, on the CPU

ViT-S/8 at 32 pixels, two views, recipe cifar10: rows of resident images, views, masks, both networks, losses, backward,
clipping, optimizer, EMA. Utilisation is the operations of the matrix products over time and over the rate of a large
bfloat16 product on the same card. Waits are counted by CUDA's own debug mode in one plain step, with the line of ours
that waited. The profile lists the kernels of three steps.
"""

import argparse
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from record import write_record

import mrkd
from mrkd.config import Config
from mrkd.config.overrides import with_overrides
from mrkd.data.dataset import Batch, training_batches
from mrkd.data.load import load_train
from mrkd.data.sampler import BatchSampler
from mrkd.distributed.fabric import make_fabric
from mrkd.objective.resolve import resolve_terms
from mrkd.train.profiling import count_operations, matrix_rate
from mrkd.train.step import Learner

CASES: tuple[tuple[str, int, bool], ...] = (
    ("ibot", 512, False),
    ("structural", 512, False),
    ("ibot+rkd-d", 512, False),
    ("ibot+rkd-a", 512, False),
    ("ibot", 2048, False),
    ("structural", 2048, False),
    ("structural", 2048, True),
    ("ibot", 2048, True),
    ("structural", 512, True),
    ("ibot", 512, True),
)
"""Method, batch, and whether the networks are compiled."""
PROFILED = (("structural", 512, False), ("ibot", 2048, False), ("ibot", 2048, True))
TINY = {
    "data.train_images": 128,
    "model.name": None,
    "model.width": 16,
    "model.depth": 1,
    "model.heads": 2,
    "head.prototypes": 32,
}
MEASURED_IMAGES = 80_000
"""Images whose steps are timed, after the warm-up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--data", required=True, help="what to train on")
    parser.add_argument("--seconds", type=float, default=600.0, help="no case is begun after this")
    parser.add_argument("--cases", help="such as ibot:512:eager,ibot:2048:compiled, in place of all of them")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on whatever device there is")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.dry_run:
        parser.error("no CUDA device: give --dry-run to try the script on the CPU")
    started, rows = time.monotonic(), []
    cases = CASES[:3] if options.dry_run else CASES
    if options.cases:
        parts = [case.split(":") for case in options.cases.split(",")]
        cases = tuple((method, int(batch), form == "compiled") for method, batch, form in parts)
    for method, batch, compiled in cases:
        if time.monotonic() - started > options.seconds:
            break
        row = {"method": method, "batch": batch, "compiled": compiled}
        try:
            row |= measured(options.data, method, batch, compiled, options.dry_run)
        except Exception as error:  # the other cases are still worth having
            row |= {"failed": f"{type(error).__name__}: {error}"[:500], "where": traceback.format_exc()[-1500:]}
        rows.append(row)
        print({name: value for name, value in row.items() if name != "profile"}, flush=True)
        write_record(options.out, "steps", rows)
        torch._dynamo.reset()


def step_config(source: str, method: str, batch: int, compiled: bool, dry_run: bool) -> Config:
    settings = {
        "data.source": source,
        "objective.method": method,
        "train.batch": batch,
        "train.compile": compiled,
        "objective.relation_grad_norm_ratio": 0.5,
        "optim.name": "adamw",
    }
    return with_overrides(mrkd.load_config("cifar10"), {**settings, **({**TINY, "train.batch": 32} if dry_run else {})})


def measured(source: str, method: str, batch: int, compiled: bool, dry_run: bool) -> dict[str, Any]:
    config = step_config(source, method, batch, compiled, dry_run)
    fabric = make_fabric(config)
    device, batch = fabric.device, config.train.batch
    dataset = load_train(config.data, device, processes=1)
    learner = Learner(config, resolve_terms(config.objective), fabric, steps=100_000)
    batches = training_batches(dataset, BatchSampler(images=len(dataset), batch=batch, seed=0), start=0, stop=100_000)
    cuda = device.type == "cuda"
    before = time.monotonic()
    take(learner, batches, 1)
    synchronize(cuda)
    row: dict[str, Any] = {"first_step_seconds": time.monotonic() - before}
    take(learner, batches, 3 if dry_run else 20)  # allocations, and shapes that are compiled once more
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    count = 3 if dry_run else max(20, MEASURED_IMAGES // batch)
    synchronize(cuda)
    before = time.monotonic()
    take(learner, batches, count)
    issued = time.monotonic() - before
    synchronize(cuda)
    spent = time.monotonic() - before
    row |= {
        "images_per_second": count * batch / spent,
        "milliseconds": 1000 * spent / count,
        "milliseconds_to_issue": 1000 * issued / count,
        "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
        "waits": waits(learner, batches) if cuda else None,
    }
    if not compiled:
        row["gflop_per_image"] = count_operations(lambda: take(learner, batches, 1)) / batch / 1e9
        rate = matrix_rate(device, learner.matrix_dtype)
        row["matrix_tflops"] = rate / 1e12
        row["utilisation"] = row["gflop_per_image"] * 1e9 * row["images_per_second"] / rate
    if dry_run or (method, batch, compiled) in PROFILED:
        row["profile"] = profile(learner, batches, cuda)
    return row


def take(learner: Learner, batches: Iterator[tuple[int, Batch]], count: int) -> None:
    for _ in range(count):
        step, batch = next(batches)
        learner.training_step(batch.images, step)


def synchronize(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def waits(learner: Learner, batches: Iterator[tuple[int, Batch]]) -> dict[str, int]:
    """How often the host waits for the device in one step, by the innermost line of ours."""
    found: Counter[str] = Counter()

    def note(*_: Any, **__: Any) -> None:
        ours = [frame for frame in traceback.extract_stack() if "/mrkd/" in frame.filename]
        found[f"{ours[-1].filename.rpartition('/mrkd/')[2]}:{ours[-1].lineno}" if ours else "elsewhere"] += 1

    torch.cuda.synchronize()
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            take(learner, batches, 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = shown
    return dict(found)


def profile(
    learner: Learner, batches: Iterator[tuple[int, Batch]], cuda: bool, steps: int = 3, most: int = 40
) -> dict[str, Any]:
    """Kernels of one step, the longest first: calls and milliseconds."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with profiled(activities=kinds) as found:
        take(learner, batches, steps)
        synchronize(cuda)
    if not cuda:
        return {"events": len(found.key_averages())}
    kernels = [event for event in found.key_averages() if event.device_type.name == "CUDA"]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    return {
        "kernels": sum(event.count for event in kernels) / steps,
        "milliseconds_busy": sum(event.self_device_time_total for event in kernels) / 1000 / steps,
        "longest": [
            {"name": event.key[:90], "calls": event.count / steps, "ms": event.self_device_time_total / 1000 / steps}
            for event in kernels[:most]
        ],
    }


if __name__ == "__main__":
    main()
