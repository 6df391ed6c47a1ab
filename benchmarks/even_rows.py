"""What it saves that the head's rows come in multiples of 32: time and memory of the head alone, with and without.

    python benchmarks/even_rows.py --json docs/results/performance.json

The number of masked patches is drawn anew for every step, as in training. Each case runs in a process of its own on one
thread, bfloat16, forward and backward, the two ways in turns; the time is the process's own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from record import write_record

import mrkd.model.head
import mrkd.model.token_subset
from mrkd.config import HeadConfig


@dataclass(frozen=True)
class Case:
    """A head and how many masked patches a step brings it."""

    width: int
    head: HeadConfig
    rows: tuple[int, int]


CASES = {
    "recipe cifar10-cpu": Case(96, HeadConfig(hidden=512, bottleneck=128, prototypes=1024), (620, 820)),
    "ViT-S/8, batch 64": Case(384, HeadConfig(hidden=2048, bottleneck=256, prototypes=8192), (300, 420)),
}


def measure(case: str, multiple: int, steps: int) -> dict[str, float]:
    """Mean milliseconds of a step, and how much the process grew, in MiB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mrkd.model.token_subset.ROW_MULTIPLE = multiple
    chosen = CASES[case]
    head = mrkd.model.head.Head(chosen.width, chosen.head).train()
    before, times = _peak_mib(), []
    for rows in torch.randint(*chosen.rows, (steps,)).tolist():
        tokens = torch.randn(rows, chosen.width, requires_grad=True)
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(tokens).logits
        logits.float().square().sum().backward()
        times.append(1e3 * (time.process_time() - started))
    return {"milliseconds": statistics.fmean(times), "mib": _peak_mib() - before}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def in_its_own_process(case: str, multiple: int, steps: int) -> dict[str, float]:
    line = [sys.executable, __file__, "--case", case, "--multiple", str(multiple), "--steps", str(steps)]
    return json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--multiple", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.multiple, options.steps)))
        return
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for case in CASES:
        found: dict[int, list[dict[str, float]]] = {mrkd.model.token_subset.ROW_MULTIPLE: [], 1: []}
        for _ in range(options.rounds):
            for multiple, runs in found.items():
                runs.append(in_its_own_process(case, multiple, options.steps))
        even, any_number = map(_medians, found.values())
        rows.append({"case": case, "steps": options.steps, "even": even, "any_number": any_number})
        print(rows[-1], flush=True)
    if options.json:
        write_record(options.json, "even_rows", rows)


if __name__ == "__main__":
    main()
