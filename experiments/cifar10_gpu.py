"""CIFAR-10 on one GPU, the most telling runs first; may be stopped at any moment and goes on where it was.

    python experiments/cifar10_gpu.py --data PATH/cifar10 --out runs/c10-gpu --seconds 540
    python experiments/cifar10_gpu.py --data PATH/cifar10 --out /tmp/x --rehearse --seconds 240      tiny, on a CPU

Trains one run after another for `--seconds`, then asks the one in progress to stop, which writes a checkpoint; call it
again for the next. Each run has a fixed number of epochs, so that all methods of a size take the same steps. After
every run the table of what is finished is written: `OUT/SIZE/table.json`, `table.md`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mrkd.reporting.read import read_run
from mrkd.reporting.table import make_table, table_markdown
from mrkd.runs.run import Run
from mrkd.system.files import write_json, write_text

METHODS = ("structural", "ibot", "ibot+structural", "simclr", "random", "ibot+rkd-d", "rkd-a", "rkd-d", "ibot+rkd-a")
"""The relation that led on a CPU first, then what it must beat, then the rest."""
FEW_CHANNELS = {"head.bottleneck": "16", "objective.relation_space": "bottleneck"}
"""For RKD, which learns little from relations in many channels."""
REHEARSAL = {
    "data.train_images": "600",
    "data.test_images": "200",
    "model.width": "32",
    "model.depth": "1",
    "model.heads": "2",
    "train.epochs": "1",
    "train.batch": "64",
    "evaluation.linear_epochs": "[1]",
}


@dataclass(frozen=True)
class Size:
    """A network and how long each of its runs is."""

    width: int
    heads: int
    patch: int
    epochs: int


SIZES = {"s8": Size(384, 6, 8, 100), "s4": Size(384, 6, 4, 60), "ti8": Size(192, 3, 8, 100), "ti4": Size(192, 3, 4, 60)}


def command(size: Size, method: str, seed: int, options: argparse.Namespace, out: Path) -> list[str]:
    settings = {
        "data.source": str(options.data),
        "model.name": "null",
        "model.width": str(size.width),
        "model.heads": str(size.heads),
        "model.patch": str(size.patch),
        "train.epochs": str(size.epochs),
        "evaluation.finetune_epochs": "0",
        "objective.method": method,
        "objective.relation_grad_norm_ratio": "0.5",
        "train.seed": str(seed),
        **(FEW_CHANNELS if "rkd" in method else {}),
        **(REHEARSAL if options.rehearse else {}),
    }
    given = [word for key, value in settings.items() for word in (f"--{key}", value)]
    line = [sys.executable, "-m", "mrkd", "pretrain", "--recipe", "cifar10", *given, "--out", str(out)]
    return [*line, "--then", "evaluate,attend"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540.0, help="after which the run in progress is put down")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["s8", "s4"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    for seed in options.seeds:
        for name in options.sizes:
            for method in METHODS:
                out = options.out / name / "runs" / f"{method}-seed{seed}"
                if (out / "evaluation.json").is_file() and (out / "attention.png").is_file():
                    continue
                if not _run(command(SIZES[name], method, seed, options, out), end):
                    print(f"time is up during {name} {method} seed {seed}: call again to go on", flush=True)
                    return
                _write_table(options.out / name)
    print("everything is done")


def _run(line: list[str], end: float) -> bool:
    """Whether it came to its end in time; a run that failed counts as ended and is named."""
    left = end - time.monotonic()
    if left < 5:
        return False
    process = subprocess.Popen(line, env=dict(os.environ))
    try:
        status = process.wait(timeout=left)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()
        return False
    if status:
        print(f"failed with {status}: {' '.join(line)}", flush=True)
    return True


def _write_table(folder: Path) -> None:
    runs = [path for path in sorted((folder / "runs").glob("*-seed*")) if Run(path).finished]
    table = make_table([read_run(path) for path in runs])
    if table["rows"]:
        write_json(folder / "table.json", table)
        write_text(folder / "table.md", table_markdown(table))
        print(table_markdown(table), flush=True)


if __name__ == "__main__":
    main()
