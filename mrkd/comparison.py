"""Methods x seeds on one data set, each in a process of its own, into one table."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

from mrkd.config import Config
from mrkd.errors import UserError
from mrkd.losses.methods import resolve_terms
from mrkd.reporting import report
from mrkd.reporting.read import read_run
from mrkd.reporting.table import make_table, table_markdown
from mrkd.run import CONFIG, EVALUATION, Run, write_json, write_text
from mrkd.settings import to_dict


def compare(
    config: Config, methods: Sequence[str], seeds: Sequence[int], out: str | Path, *, jobs: int = 1, command: str = ""
) -> dict[str, Any]:
    """Train, measure and draw every method with every seed under one config; write the table and the report.

    Runs that are already finished under the same config are kept, so an interrupted comparison goes on where it was.

    Args:
        config: everything but method and seed.
        methods: names as `mrkd methods` lists them.
        seeds: one run of each method per seed.
        out: a directory; gets `runs/`, `table.json`, `table.md` and `report.html`.
        jobs: runs at a time, each with its share of the CPU's threads. Small networks gain from it: one thread each
            wastes less than two threads that wait for each other.
        command: shown in the report as the way to get there again.
    Returns:
        The content of `table.json`.
    Raises:
        UserError: an unknown method, another comparison in `out`, or no run that succeeded.
    """
    out = Path(out)
    if not methods or not seeds:
        raise UserError("compare needs at least one method and one seed")
    if jobs < 1:
        raise UserError(f"jobs must be at least 1, got {jobs}")
    planned = [_variant(config, method, seed) for method in dict.fromkeys(methods) for seed in dict.fromkeys(seeds)]
    for variant in planned:
        resolve_terms(variant.objective)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "runs").is_dir())):
        raise UserError(f"{out} holds something else: choose another --out, or remove it")
    failures = _run_all(planned, out, jobs)
    runs = [out / "runs" / run_name(variant) for variant in planned if run_name(variant) not in failures]
    if not runs:
        raise UserError(f"every run failed; the first: {next(iter(failures.values()))}")
    table = make_table([read_run(path) for path in runs])
    table["failures"] = failures
    table["command"] = command
    table["jobs"] = jobs
    write_json(out / "table.json", table)
    write_text(out / "table.md", table_markdown(table))
    report(runs, out / "report.html", command=command)
    return table


def _run_all(planned: Sequence[Config], out: Path, jobs: int) -> dict[str, str]:
    """Every planned run that is not finished yet; returns run name to reason for those that failed."""
    unfinished = []
    for variant in planned:
        if _finished(out / "runs" / run_name(variant), variant):
            print(f"── {run_name(variant)}: finished before, kept", flush=True)
        else:
            unfinished.append(variant)
    failures: dict[str, str] = {}
    started = time.monotonic()
    weight_done = 0.0
    total = sum(_weight(variant) for variant in unfinished)

    def one(variant: Config) -> str | None:
        return _run_in_process(variant, out / "runs" / run_name(variant), jobs)

    with ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(one, variant): variant for variant in unfinished}
        for number, future in enumerate(as_completed(pending), start=1):
            variant, error = pending[future], future.result()
            weight_done += _weight(variant)
            left = (time.monotonic() - started) / weight_done * (total - weight_done)
            # Before a training has finished there is nothing to estimate from.
            estimate = f", about {left / 60:.1f} min left" if left > 0 and weight_done >= 1 else ""
            state = "done" if error is None else f"failed: {error}"
            print(f"── {number}/{len(unfinished)} {run_name(variant)} {state}{estimate}", flush=True)
            if error is not None:
                failures[run_name(variant)] = error
    return failures


def _weight(config: Config) -> float:
    """Rough share of the time: `random` trains nothing and is only evaluated."""
    return 1.0 if resolve_terms(config.objective) else 0.15


def run_name(config: Config) -> str:
    """Directory name of one run of a comparison."""
    return f"{config.objective.method}-seed{config.train.seed}"


def _variant(config: Config, method: str, seed: int) -> Config:
    return dataclasses.replace(
        config,
        objective=dataclasses.replace(config.objective, method=method),
        train=dataclasses.replace(config.train, seed=seed),
    )


def _finished(path: Path, config: Config) -> bool:
    if not path.exists():
        return False
    if not (path / CONFIG).is_file():
        raise UserError(f"{path} is not a run: choose another --out, or remove it")
    if Run(path).config() != config:
        raise UserError(f"{path} holds a run with other settings: choose another --out, or remove it")
    if (path / EVALUATION).is_file() and (path / "attention.png").is_file():
        return True
    import shutil

    shutil.rmtree(path)  # an interrupted run under the very same settings; nothing in it can be used
    return False


def _run_in_process(config: Config, path: Path, jobs: int) -> str | None:
    """Train, evaluate and draw in a fresh interpreter, so that memory and time are the run's own.

    Returns:
        None, or the line that says why it failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = path.parent / f"{path.name}.yaml"
    write_text(settings, yaml.safe_dump(to_dict(config), sort_keys=False))
    command = [sys.executable, "-m", "mrkd", "pretrain", "--config", str(settings), "--out", str(path)]
    command += ["--then", "evaluate,attend"]
    environment = dict(os.environ)
    if jobs > 1:
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        environment |= {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    with tempfile.TemporaryFile("w+") as complaints:
        # One live bar has the terminal to itself; several runs print plain lines, which do not overwrite each other.
        output = None if jobs == 1 else subprocess.PIPE
        with subprocess.Popen(command, stdout=output, stderr=complaints, text=True, env=environment) as process:
            for line in process.stdout or ():
                print(f"   {path.name:24s} {line}", end="", flush=True)
        settings.unlink(missing_ok=True)
        if process.returncode == 0:
            return None
        complaints.seek(0)
        lines = [line for line in complaints.read().splitlines() if line.strip()]
    return lines[-1].removeprefix("mrkd: ") if lines else f"exit status {process.returncode}"
