"""What stands beside every measured number: machine, commit, versions."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """Processor or GPU, threads, torch and the commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    known = os.environ.get("MRKD_COMMIT") or commit.stdout.strip()  # a copied tree has no history to ask
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": known or "unknown",
    }


def machine() -> dict[str, Any]:
    """The environment, and the rate of a large matrix product, which takes seconds to measure."""
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    rates = {name: round(matrix_rate(dtype) / 1e9) for name, dtype in dtypes.items()}
    return {**environment(), "matrix_gflops": rates}


def matrix_rate(dtype: torch.dtype) -> float:
    from mrkd.train.profiling import matrix_rate as measured

    return measured(torch.device("cuda" if torch.cuda.is_available() else "cpu"), dtype)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def stopwatch() -> Callable[[], float]:
    """Seconds: this process's own with one thread on a CPU, so that other work hardly matters; else the wall's."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time if alone else time.perf_counter


def write_record(path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """One benchmark's rows into a JSON file that several benchmarks share, each under its own name."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    record[name] = {**machine(), "rows": rows}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
