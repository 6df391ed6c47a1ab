"""One training step against other projects' code: images a second, in turns, in one process.

    python benchmarks/step.py --ibot PATH --solo PATH --json docs/results/performance.json

Two views of 32 pixels, patch 8, 8,192 prototypes, batch 64, float32 and bfloat16; AdamW, clipping and EMA included,
views and masks ready beforehand. PATH is a checkout of bytedance/ibot and of vturrisi/solo-learn; lightly comes with
the extra `benchmarks`. DINO has no patch term, so it is set against our own step without it. A round times every
contestant once; the ratio is the median over rounds of theirs over ours, so a slow moment of the machine strikes both.
With --threads 1 the clock counts this process's own time, and what else runs on the machine hardly matters. Operations
are those of the matrix products that a contestant really does in one step, counted as they happen.
"""

import argparse
import dataclasses
import statistics
from pathlib import Path
from typing import Any

import torch
from peers import MissingError, Step, Workload, peers
from record import stopwatch, write_record
from torch import Tensor

import mrkd
from mrkd.config import Config
from mrkd.data.augment.masking import draw_masks
from mrkd.distributed.fabric import make_fabric
from mrkd.objective.resolve import resolve_terms
from mrkd.train.profiling import count_operations
from mrkd.train.step import Learner

NETWORKS = {"ViT-S/8": (384, 6), "ViT-Ti/8": (192, 3)}


class ReadyViews:
    """Stands in for the drawing of views: a step is measured by itself."""

    def __init__(self, views: Tensor) -> None:
        self.views = views

    def __call__(self, images: Tensor, **where: int) -> tuple[Tensor, None]:
        return self.views, None


def our_config(width: int, heads: int, *, batch: int, bfloat16: bool, method: str, **more: Any) -> Config:
    """iBOT's own head and centring on a ViT of 12 blocks, patch 8, at 32 pixels."""
    return mrkd.load_config(
        "poster",
        data__source="digits",
        model__name=None,
        model__width=width,
        model__heads=heads,
        model__drop_path=0.0,
        optim__freeze_prototypes=0.0,
        objective__method=method,
        train__batch=batch,
        train__precision="bf16-mixed" if bfloat16 else "32-true",
        **more,
    )


def our_step(config: Config, views: Tensor | None) -> Step:
    """A step of ours; with `views` None they are drawn anew each time, as in training."""
    learner = Learner(config, resolve_terms(config.objective), make_fabric(config), steps=1_000_000)
    shape = (config.train.batch, 3, config.data.size, config.data.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=learner.fabric.device)
    if views is not None:
        learner.view_maker = ReadyViews(views)  # type: ignore[assignment]

    def step() -> None:
        learner.training_step(images, 500_000)

    return step


def compare(steps: dict[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    clock = stopwatch()
    for number in range(rounds + 1):
        for name, step in steps.items():
            started = clock()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def contestants(
    name: str, batch: int, bfloat16: bool, options: argparse.Namespace
) -> tuple[dict[str, Step], list[str]]:
    width, heads = NETWORKS[name]
    config = our_config(width, heads, batch=batch, bfloat16=bfloat16, method="ibot")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    views = torch.randn(2, batch, 3, 32, 32, device=device)
    masks = draw_masks((2, batch), (4, 4), config.mask, torch.Generator().manual_seed(0)).to(device)
    work = Workload(views, masks.unflatten(-1, (4, 4)), width, heads, 12, 8, 32, config.head.prototypes, bfloat16)
    dino_objective = dataclasses.replace(
        config.objective, terms=[term for term in resolve_terms(config.objective) if term.loss == "ibot-cls"]
    )
    steps = {
        "mrkd iBOT": our_step(config, views),
        "mrkd iBOT with augmentation": our_step(config, None),
        "mrkd DINO": our_step(dataclasses.replace(config, objective=dino_objective), views),
    }
    skipped = []
    for peer, build in peers(work, options.ibot, options.solo):
        try:
            steps[peer] = build()
        except MissingError as reason:
            skipped.append(f"{peer}: {reason}")
    return steps, skipped


def rows(
    name: str, batch: int, precision: str, seconds: dict[str, list[float]], operations: dict[str, int]
) -> list[dict[str, Any]]:
    result = []
    for contestant, times in seconds.items():
        ours = seconds["mrkd DINO" if "DINO" in contestant else "mrkd iBOT"]
        ratios = [theirs / own for theirs, own in zip(times, ours, strict=True)]
        result.append(
            {
                "network": name,
                "precision": precision,
                "batch": batch,
                "contestant": contestant,
                "images_per_second": batch / statistics.median(times),
                "ours_is_faster_times": statistics.median(ratios),
                "gflop_per_image": operations[contestant] / batch / 1e9,
                "rounds": len(times),
            }
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ibot", type=Path, help="a checkout of bytedance/ibot")
    parser.add_argument("--solo", type=Path, help="a checkout of vturrisi/solo-learn")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, help="of the CPU; all of them when left out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    everything: list[dict[str, Any]] = []
    for name in options.networks:
        for precision in options.precisions:
            steps, skipped = contestants(name, options.batch, precision == "bfloat16", options)
            seconds = compare(steps, options.rounds, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
            operations = {contestant: count_operations(step) for contestant, step in steps.items()}
            for row in rows(name, options.batch, precision, seconds, operations):
                everything.append(row)
                print(
                    f"{name} {precision:9s} {row['contestant']:28s} {row['images_per_second']:8.1f} images/s   "
                    f"ours is {row['ours_is_faster_times']:5.2f} times as fast   "
                    f"{row['gflop_per_image']:6.2f} GFLOP an image",
                    flush=True,
                )
            for reason in skipped:
                print(f"{name} {precision:9s} left out: {reason}", flush=True)
    if options.json:
        write_record(options.json, "step", everything)


if __name__ == "__main__":
    main()
