"""Everything that needs a GPU in one command of under ten minutes, which keeps what it has measured if it is cut off.

    python experiments/gpu_all.py --data PATH/cifar10 --out results/gpu                     on a machine with one GPU
    python experiments/gpu_all.py --data digits --out /tmp/x --dry-run                      tiny, on the CPU

Stages, in this order; `--stages` chooses some of them:
smoke      a training of a few steps; if it fails, nothing else is begun
kernels    the relational losses: agreement with float64, repeats, milliseconds, memory (benchmarks/gpu_kernels.py)
attention  attention over 17 tokens by each of torch's kernels (benchmarks/gpu_attention.py)
steps      whole training steps: images a second, utilisation, waits, memory, profile (benchmarks/gpu_steps.py)
scan       settings of ViT-S/8, structural, judged by k-NN on held-out training images, four runs on the card at once;
           needs some two minutes
training   ViT-S/8 on all training images, rounds of runs at once, scored on the test split

Each stage is a process of its own with a limit, so that one that fails or hangs costs only itself, and writes one JSON
file into `--out`: kernels.json, attention.json, steps.json, scan.json, training.json. Each is also stopped
when `--seconds` are over.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrkd.runs.run import EVALUATION, SUMMARY, RunDirectory
from mrkd.system.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("smoke", "kernels", "attention", "steps", "scan", "training")
LIMITS = {"smoke": 90.0, "kernels": 80.0, "attention": 40.0, "steps": 150.0}
"""Seconds after which a stage is stopped."""

VIT = {
    "train.batch": 512,
    "train.log_steps": 50,
    "train.monitor_times": 3,
    "train.monitor_images": 20_000,
    "train.relation_images": 0,
    "train.checkpoint_steps": 100_000,
    "evaluation.finetune_epochs": 0,
    "evaluation.cluster_head_epochs": 0,
    "evaluation.cluster_restarts": 1,
    "evaluation.map_images": 0,
    "evaluation.linear_batch": 1024,
}
"""Laid over the recipe cifar10, ViT-S/8, for every run here: what is watched, and an evaluation that is kept short."""
TINY = {
    "data.train_images": 256,
    "data.test_images": 64,
    "model.name": None,
    "model.width": 16,
    "model.depth": 1,
    "model.heads": 2,
    "head.prototypes": 32,
    "head.hidden": 32,
    "head.bottleneck": 16,
    "train.batch": 32,
    "train.monitor_images": 100,
    "evaluation.linear_epochs": [1],
}
"""Laid over that in a dry run."""

SCAN: dict[str, dict[str, Any]] = {
    "recipe": {},
    "adamw": {"optim.name": "adamw"},
    "twice the rate": {"optim.learning_rate": 1e-3},
    "faster teacher, no drop path": {"optim.ema": 0.95, "model.drop_path": 0.0},
}
SCAN_EPOCHS, TRAINING_EPOCHS = 5, 22
ROUNDS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("structural", 0), ("ibot", 0), ("structural", 1), ("ibot", 1)),
    (("structural", 2), ("ibot", 2), ("ibot+structural", 0), ("simclr", 0)),
    (("random", 0), ("ibot+structural", 1), ("simclr", 1)),
)
"""Method and seed of the runs that share the card, the most telling first."""


@dataclass(frozen=True)
class Call:
    """What the command line asked for, and when it ends."""

    data: str
    out: Path
    dry_run: bool
    ends: float

    def left(self) -> float:
        return self.ends - time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seconds", type=float, default=580.0, help="for everything together")
    parser.add_argument("--stages", default=",".join(STAGES), help="joined by commas")
    parser.add_argument("--cases", help="for the stage steps, as benchmarks/gpu_steps.py takes them")
    parser.add_argument("--settings", default="{}", help="for the stage training, JSON laid over what is chosen here")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on whatever device there is")
    options = parser.parse_args()
    data = str(Path(options.data).resolve()) if Path(options.data).exists() else options.data
    call = Call(data, options.out.resolve(), options.dry_run, time.monotonic() + options.seconds)
    call.out.mkdir(parents=True, exist_ok=True)
    for stage in options.stages.split(","):
        if stage not in STAGES:
            parser.error(f"--stages must be some of {','.join(STAGES)}, got {stage}")
        started = time.monotonic()
        if stage == "smoke":
            smoke(call)
        elif stage in ("scan", "training"):
            scan(call) if stage == "scan" else training(call, json.loads(options.settings))
        else:
            benchmark(stage, call, options.cases)
        print(f"== {stage}: {time.monotonic() - started:.0f} s; {call.left():.0f} s left", flush=True)


def smoke(call: Call) -> None:
    """Decode and keep the images, and take a few steps; the command ends here when that does not work."""
    for holdout in ("validation", "test"):
        settings = {"data.holdout": holdout, "train.steps": 3}
        run = start("ibot+structural", 0, settings, call.out / f"smoke-{holdout}", call, then=False)
        status = run.wait(timeout=max(1.0, min(LIMITS["smoke"], call.left())))
        if status:
            log = (call.out / f"smoke-{holdout}.log").read_text(errors="replace")
            sys.exit(f"the smoke test failed, so nothing else was begun:\n{log[-2000:]}")


def benchmark(stage: str, call: Call, cases: str | None) -> None:
    if call.dry_run and stage == "attention":
        return
    command = [sys.executable, f"gpu_{stage}.py", "--out", str(call.out / f"{stage}.json")]
    if stage == "steps":
        command += ["--data", call.data, "--seconds", str(0.6 * LIMITS[stage])]
        command += ["--cases", cases] if cases else []
    if call.dry_run:
        command.append("--dry-run")
    limit = max(1.0, min(LIMITS[stage], call.left()))
    with (call.out / f"{stage}.log").open("w") as log:
        try:
            subprocess.run(command, cwd=ROOT / "benchmarks", stdout=log, stderr=log, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            print(f"{stage} was stopped after {limit:.0f} s; what it had is kept", flush=True)


def start(
    method: str, seed: int, settings: dict[str, Any], out: Path, call: Call, *, then: bool
) -> "subprocess.Popen[str]":
    """One training, and its evaluation, as a user would start it; its output goes to OUT.log."""
    laid = {"data.source": call.data, **VIT, **settings, **(TINY if call.dry_run else {})}
    command = [sys.executable, "-m", "mrkd", "pretrain", "--recipe", "cifar10", "--method", method, "--out", str(out)]
    command += ["--train.seed", str(seed)]
    for name, value in laid.items():
        command += [f"--{name}", json.dumps(value) if not isinstance(value, str) else value]
    if then:
        command += ["--then", "evaluate"]
    log = out.with_name(out.name + ".log").open("w")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)


def run_together(
    planned: Sequence[tuple[str, str, int, dict[str, Any]]], folder: Path, record: Path, call: Call, *, then: bool
) -> bool:
    """Runs (name, method, seed, settings) on the card at once; False when time ran out before they ended."""
    folder.mkdir(parents=True, exist_ok=True)
    live = {
        name: start(method, seed, settings, folder / name.replace(" ", "-").replace(",", ""), call, then=then)
        for name, method, seed, settings in planned
    }
    done: set[str] = set()
    while len(done) < len(live) and call.left() > 2.0:
        for name, process in live.items():
            if name not in done and process.poll() is not None:
                done.add(name)
                keep(name, folder / name.replace(" ", "-").replace(",", ""), process.returncode, record, len(live))
        time.sleep(0.2)
    for name in set(live) - done:
        live[name].kill()
        keep(name, folder / name.replace(" ", "-").replace(",", ""), None, record, len(live))
    return len(done) == len(live)


def keep(name: str, path: Path, status: int | None, record: Path, beside: int) -> None:
    """Add what a run has come to; a run that failed or was stopped keeps what it measured so far."""
    rows: list[Any] = read_json(record)["runs"] if record.is_file() else []
    row: dict[str, Any] = {"name": name, "exit_status": status, "runs_at_once": beside}
    run = RunDirectory(path)
    if run.started:
        logged = run.metrics()
        row["measured"] = [
            {key: line[key] for key in ("step", "epoch", "seconds", "knn", "rankme", "loss") if key in line}
            for line in logged
            if "knn" in line
        ]
        row["config"] = (path / "config.yaml").read_text(encoding="utf-8")
    for key, file in (("summary", SUMMARY), ("evaluation", EVALUATION)):
        if (path / file).is_file():
            row[key] = read_json(path / file)
    if status != 0:
        row["log"] = path.with_name(path.name + ".log").read_text(errors="replace")[-2000:]
    write_json(record, {"commit": os.environ.get("MRKD_COMMIT", "unknown"), "runs": [*rows, row]})
    last = row.get("measured", [{}])[-1:] or [{}]
    knn = row.get("evaluation", {}).get("knn", {}).get("acc1")
    print(f"{name}: exit status {status}, last measured {last[0]}, k-NN {knn}", flush=True)


def scan(call: Call) -> None:
    settings = {"data.holdout": "validation", "train.epochs": 1 if call.dry_run else SCAN_EPOCHS}
    planned = [(name, "structural", 0, {**settings, **changes}) for name, changes in SCAN.items()]
    run_together(planned, call.out / "scan-runs", call.out / "scan.json", call, then=False)


def training(call: Call, changes: dict[str, Any]) -> None:
    settings = {"train.epochs": TRAINING_EPOCHS, **changes, **({"train.epochs": 1} if call.dry_run else {})}
    took = 0.0
    for number, runs in enumerate(ROUNDS):
        if call.left() < took:
            return
        started = time.monotonic()
        planned = [(f"{method} seed {seed}", method, seed, settings) for method, seed in runs]
        if not run_together(planned, call.out / "runs", call.out / "training.json", call, then=True):
            return
        took = time.monotonic() - started
        print(f"round {number + 1} took {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
