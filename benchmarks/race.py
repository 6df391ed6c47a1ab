"""Core-seconds to a stated k-NN on CIFAR-10: self-supervised trainings against each other, under one evaluation.

    python benchmarks/race.py --data PATH/cifar10 --epochs 13 --runs 3 --out race.json
    python benchmarks/race.py --data PATH/cifar10 --runs 1 --only structural --only lightly-simclr --out race.json

Runs of each contestant: as many as --runs says (3 by default), seeds 0 upwards, each in a process of its own with one
thread. The clock counts the processor seconds of the whole process and its children: imports, decoding and compilation
included (no cache of an earlier run is used), the race's own evaluations left out. Other load on the machine changes
them little, but not by nothing: caches and memory are shared, and so are the cores' boost clocks.

The score is k-NN (k = 20, T = 0.07, cosine) on a fifth of the training images, which no contestant trains on; the test
split is never read. Join the race with a function in `contestants.py`; lightly comes with the extra benchmarks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contestants import CONTESTANTS, Observe, Task
from record import machine

TARGETS = (40.0, 45.0, 50.0)
"""Percent."""


def tree_seconds() -> float:
    """Processor seconds of this process and all below it, those that ended among them."""
    return sum(map(_seconds, _family(os.getpid())))


def _family(process: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # it has just ended
        return []
    return [process, *(one for text in lists for child in text.split() for one in _family(int(child)))]


def _seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # utime, stime and those of children that were waited for: fields 14 to 17 of proc(5).
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def judge(task: Task) -> tuple[Observe, list[dict[str, float]]]:
    """What a contestant calls with its features, and the curve that grows by it."""
    import torch

    from mrkd.data.load import load
    from mrkd.evaluation.classifiers.accuracy import accuracy
    from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores

    before = tree_seconds()
    splits = load(task.data)
    train, held_out = splits.train.in_memory(), splits.require_test().in_memory()
    aside = tree_seconds() - before  # of the race itself, not of the contestant
    curve: list[dict[str, float]] = []

    @torch.no_grad()
    def observe(features: Any) -> None:
        nonlocal aside
        now = tree_seconds()
        bank, queries = (torch.cat([features(part) for part in one.images.split(500)]) for one in (train, held_out))
        labels = (one.require_labels("the race") for one in (train, held_out))
        known, truth = labels
        votes = knn_class_scores(bank, known, queries, k=20, temperature=0.07, classes=len(train.class_names))
        curve.append({"core_seconds": round(now - aside, 2), "knn": round(accuracy(votes, truth), 2)})
        print(f"  {curve[-1]['core_seconds']:8.1f} core-seconds: {curve[-1]['knn']:.1f} %", file=sys.stderr, flush=True)
        aside += tree_seconds() - now

    return observe, curve


def run_one(name: str, task: Task, out: Path) -> None:
    """In a process of its own: one contestant, from which nothing is left but its curve."""
    import torch

    torch.set_num_threads(1)
    observe, curve = judge(task)
    CONTESTANTS[name](task, observe)
    reached = {
        f"{target:.0f}": next((point["core_seconds"] for point in curve if point["knn"] >= target), None)
        for target in TARGETS
    }
    row = {"contestant": name, "seed": task.seed, "epochs": task.epochs, "core_seconds_to": reached, "curve": curve}
    out.write_text(json.dumps(row), encoding="utf-8")


def start(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one run, from a fresh process whose caches of compiled code are empty."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "row.json"
        caches = {"NUMBA_CACHE_DIR": f"{folder}/numba", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        command = [sys.executable, __file__, "--data", options.data, "--images", str(options.images)]
        command += ["--epochs", str(options.epochs), "--out", str(result), "--run-one", name, "--seed", str(seed)]
        subprocess.run(command, check=True, env={**os.environ, **caches, "OMP_NUM_THREADS": "1"})
        return json.loads(result.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=10_000, help="training images, a fifth of which is held out")
    parser.add_argument("--epochs", type=int, default=13, help="passes of every contestant; its schedule ends there")
    parser.add_argument("--runs", type=int, default=3, help="of each contestant")
    parser.add_argument("--only", action="append", choices=list(CONTESTANTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run-one", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_one:
        task = Task(source=options.data, images=options.images, epochs=options.epochs, seed=options.seed)
        run_one(options.run_one, task, options.out)
        return
    record: dict[str, Any] = {**machine(), "images": options.images, "runs": options.runs, "rows": []}
    for seed in range(options.runs):
        for name in options.only or CONTESTANTS:
            print(f"{name}, seed {seed}", flush=True)
            record["rows"].append(start(name, seed, options))
            options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            print(f"  to {record['rows'][-1]['core_seconds_to']}", flush=True)


if __name__ == "__main__":
    main()
