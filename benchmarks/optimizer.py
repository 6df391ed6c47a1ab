"""What an optimizer costs: milliseconds of its step, and its share of a whole training step, AdamW against Muon.

    python benchmarks/optimizer.py --threads 1 --json docs/results/performance.json

`structural` at 32 pixels, patch 8, two views, batch 128, float32 on a CPU and bfloat16 on a GPU, where Muon's products
are in bfloat16 too. The optimizers take turns, one whole step each round, and within it the optimizer's step is timed
by itself; a figure is the median over rounds, and the ratio that of Muon over AdamW in the same round. Muon's step
includes that of AdamW for the parameters that are no matrices of a block.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from record import stopwatch, write_record
from torch import Tensor

import mrkd
from mrkd.distributed.fabric import make_fabric
from mrkd.objective.resolve import resolve_terms
from mrkd.optim.optimizers import OPTIMIZERS
from mrkd.train.step import Learner

NETWORKS = {"width 96, depth 3": (96, 3, 4), "ViT-S/8": (384, 12, 6)}
"""Width, depth, heads."""


class TimedSteps:
    """Training steps of one optimizer, each with the seconds that the optimizer itself took."""

    def __init__(self, name: str, network: str, batch: int) -> None:
        width, depth, heads = NETWORKS[network]
        config = mrkd.load_config(
            "cifar10-cpu",
            data__source="digits",
            model__width=width,
            model__depth=depth,
            model__heads=heads,
            objective__method="structural",
            optim__name=name,
            train__batch=batch,
            train__precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        )
        self.learner = Learner(config, resolve_terms(config.objective), make_fabric(config), steps=1_000_000)
        self.images = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, device=self.learner.fabric.device)
        self.clock = stopwatch()
        self.optimizer_seconds = 0.0
        self.true_step = self.learner.optimizer.step
        self.learner.optimizer.step = self._timed  # type: ignore[method-assign]

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self.clock()

    def _timed(self, *, skip: Tensor) -> None:
        started = self._now()
        self.true_step(skip=skip)
        self.optimizer_seconds = self._now() - started

    def __call__(self) -> tuple[float, float]:
        """Seconds of the optimizer's step and of the whole one."""
        started = self._now()
        self.learner.training_step(self.images, 500_000)
        return self.optimizer_seconds, self._now() - started


def measure(network: str, batch: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each optimizer, after two rounds that do not count."""
    contestants = {name: TimedSteps(name, network, batch) for name in OPTIMIZERS}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(rounds + 2):
        for name, step in contestants.items():
            seconds = step()
            if number >= 2:
                times[name].append(seconds)
    return [
        {
            "network": network,
            "batch": batch,
            "optimizer": name,
            "optimizer_milliseconds": 1e3 * statistics.median(own for own, _ in measured),
            "share_of_step": statistics.median(own / whole for own, whole in measured),
            "whole_step_over_adamws": statistics.median(
                whole / reference for (_, whole), (_, reference) in zip(measured, times["adamw"], strict=True)
            ),
            "rounds": rounds,
        }
        for name, measured in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", type=int, help="of the CPU; all of them when left out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    everything: list[dict[str, Any]] = []
    for network in options.networks:
        for row in measure(network, options.batch, options.rounds):
            everything.append(row)
            print(
                f"{network:18s} {row['optimizer']:6s} {row['optimizer_milliseconds']:8.2f} ms   "
                f"{row['share_of_step']:6.1%} of a step   {row['whole_step_over_adamws']:5.3f} times AdamW's step",
                flush=True,
            )
    if options.json:
        write_record(options.json, "optimizer", everything)


if __name__ == "__main__":
    main()
