"""Core-seconds to a stated k-NN on CIFAR-10: self-supervised trainings against each other, under one evaluation.

    python benchmarks/race.py --data PATH/cifar10 --out docs/results/race.json
    python benchmarks/race.py --data PATH/cifar10 --runs 1 --only structural --only lightly-simclr --out race.json

Runs of each contestant: as many as --runs says (3 by default), seeds 0 upwards, in turns, each in a process of its own
with one thread. An interrupted race goes on with the runs that --out does not have yet. Machine and commit stand in
the record; `experiments/results_tables.py` makes the table.

The clock counts the processor seconds of the whole process and its children from their start: imports, decoding and
compilation included (no cache of an earlier run is used), the race's own decoding and evaluations left out. Other load
on the machine changes them little, but not by nothing: caches, memory and the cores' boost clocks are shared.

A fixed fifth of the training split (10,000 images) is held out; of the rest, --images are trained on. The score is the
held-out images' k-NN among those trained on (k = 20, T = 0.07, cosine); the test split is never scored. It is taken
before the first step and after every pass; a contestant that has then used more than --limit core-seconds is stopped.

Fairness. Ours was tuned on CIFAR-10 for this length, by k-NN on held-out training images (docs/results/cifar10.md). The
peers have their documented settings, which were chosen for longer runs; with 8x-rate, the learning rate that ours has.
All compute in float32. Peers get images that are decoded once, and pay for no monitoring; ours pays for its own.
solo-learn is missing: 1.0.2 on PyPI requires torch 1.9.1, and its repository (9187ea3) lightning 2.1.2.

Join with a function in `contestants/`, or with a script that adds one to `contestants.CONTESTANTS` and calls `main`.
lightly comes with the extra `benchmarks`.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from contestants import CONTESTANTS, Observe, Task
from contestants.task import Features
from record import environment

from mrkd.data.load import load
from mrkd.data.resident import ResidentDataset
from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores

TARGETS = (40.0, 45.0, 50.0)
"""Percent."""
SAME = ("device", "torch", "commit", "lightly", "images", "epochs", "limit")
"""What runs in one record have in common."""


def tree_seconds() -> float:
    """Processor seconds of this process and all below it, those that ended among them; needs Linux."""
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


class LimitReachedError(Exception):
    """The contestant has used its core-seconds."""


class Judge:
    """Has a clock, and scores the features that it is shown.

    Args:
        train: labelled images, whose features are the bank of the k-NN.
        held_out: labelled images, whose classes are told by it.
        limit: core-seconds after which it stops the contestant.
        aside: core-seconds that are not the contestant's.
    """

    def __init__(self, train: ResidentDataset, held_out: ResidentDataset, limit: float, aside: float = 0.0) -> None:
        self.train, self.held_out, self.limit, self.aside = train, held_out, limit, aside
        self.curve: list[dict[str, float]] = []

    @classmethod
    def of(cls, task: Task, limit: float) -> "Judge":
        """With the images of a task, whose decoding is the race's own."""
        before = tree_seconds()
        splits = load(task.data)
        train, held_out = splits.train.in_memory(), splits.require_test().in_memory()
        return cls(train, held_out, limit, aside=tree_seconds() - before)

    @torch.no_grad()
    def observe(self, features: Features) -> None:
        """Add a point to the curve.

        Raises:
            LimitReachedError: the limit is behind it.
        """
        now = tree_seconds()
        bank, queries = (torch.cat([*map(features, one.images.split(500))]) for one in (self.train, self.held_out))
        known, truth = (one.require_labels("the race") for one in (self.train, self.held_out))
        classes = len(self.train.class_names)
        votes = knn_class_scores(bank, known, queries, k=min(20, len(bank)), temperature=0.07, classes=classes)
        point = {"core_seconds": round(now - self.aside, 2), "knn": round(accuracy(votes, truth), 2)}
        self.curve.append(point)
        print(f"  {point['core_seconds']:8.1f} core-seconds: {point['knn']:.1f} %", file=sys.stderr, flush=True)
        self.aside += tree_seconds() - now
        if point["core_seconds"] > self.limit:
            raise LimitReachedError


def run_one(name: str, task: Task, limit: float, out: Path) -> None:
    """In a process of its own: one contestant, from which nothing is left but its curve."""
    torch.set_num_threads(1)
    judge = Judge.of(task, limit)
    observe: Observe = judge.observe
    with contextlib.suppress(LimitReachedError):
        CONTESTANTS[name](task, observe)
    reached = {f"{target:.0f}": first_reaching(target, judge.curve) for target in TARGETS}
    row = {"contestant": name, "seed": task.seed, "held_out": len(judge.held_out), "core_seconds_to": reached}
    out.write_text(json.dumps({**row, "curve": judge.curve}), encoding="utf-8")


def first_reaching(target: float, curve: list[dict[str, float]]) -> float | None:
    """Core-seconds at the first point with this k-NN in percent; None if there is none."""
    return next((point["core_seconds"] for point in curve if point["knn"] >= target), None)


def start(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one run, from a fresh process whose caches of compiled code are empty."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "row.json"
        caches = {"NUMBA_CACHE_DIR": f"{folder}/numba", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        command = [sys.executable, sys.argv[0], "--data", options.data, "--images", str(options.images)]
        command += ["--epochs", str(options.epochs), "--limit", str(options.limit), "--out", str(result)]
        command += ["--run-one", name, "--seed", str(seed)]
        environment = {**os.environ, **caches, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
        if ended.returncode:
            raise SystemExit(f"{name}, seed {seed}: ended with status {ended.returncode}; --out has the runs before it")
        return json.loads(result.read_text(encoding="utf-8"))


def open_record(options: argparse.Namespace) -> dict[str, Any]:
    """The record of --out, or a new one.

    Raises:
        SystemExit: its runs are not comparable with those that would be added.
    """
    torch.set_num_threads(1)  # as the runs have
    lightly = importlib.metadata.version("lightly") if importlib.util.find_spec("lightly") else None
    asked = {"images": options.images, "epochs": options.epochs, "limit": options.limit}
    fresh = {**environment(), "lightly": lightly, **asked, "rows": []}
    if not options.out.exists():
        return fresh
    record: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8"))
    others = [f"{key} {record.get(key)}, now {fresh[key]}" for key in SAME if record.get(key) != fresh[key]]
    if others:
        raise SystemExit(f"{options.out} has runs of another race ({'; '.join(others)}): choose another --out")
    return record


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=10_000, help="that are trained on")
    parser.add_argument("--epochs", type=int, default=13, help="passes of every contestant; its schedule ends there")
    parser.add_argument("--runs", type=int, default=3, help="of each contestant")
    parser.add_argument("--limit", type=float, default=3600.0, help="core-seconds of a run")
    parser.add_argument("--only", action="append", choices=list(CONTESTANTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run-one", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if options.run_one:
        task = Task(source=options.data, images=options.images, epochs=options.epochs, seed=options.seed)
        run_one(options.run_one, task, options.limit, options.out)
        return
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        raise SystemExit("the race's clock needs Linux with /proc/PID/task/TID/children: run it on such a machine")
    names = options.only or list(CONTESTANTS)
    record = open_record(options)
    if record["lightly"] is None and any(name.startswith("lightly") for name in names):
        raise SystemExit('lightly is not installed: pip install "mrkd[benchmarks]", or name others with --only')
    have = {(row["contestant"], row["seed"]) for row in record["rows"]}
    for seed, name in ((seed, name) for seed in range(options.runs) for name in names):
        if (name, seed) in have:
            continue
        print(f"{name}, seed {seed}", flush=True)
        record["rows"].append(start(name, seed, options))
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"  to {record['rows'][-1]['core_seconds_to']}", flush=True)


if __name__ == "__main__":
    main()
