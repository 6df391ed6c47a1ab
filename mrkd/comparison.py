"""Methods x seeds on one data set, each in a process of its own, into one table."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
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
    config: Config, methods: Sequence[str], seeds: Sequence[int], out: str | Path, command: str = ""
) -> dict[str, Any]:
    """Train, measure and draw every method with every seed under one config; write the table and the report.

    Runs that are already finished under the same config are kept, so an interrupted comparison goes on where it was.

    Args:
        config: everything but method and seed.
        methods: names as `mrkd methods` lists them.
        seeds: one run of each method per seed.
        out: a directory; gets `runs/`, `table.json`, `table.md` and `report.html`.
        command: shown in the report as the way to get there again.
    Returns:
        The content of `table.json`.
    Raises:
        UserError: an unknown method, another comparison in `out`, or no run that succeeded.
    """
    out = Path(out)
    if not methods or not seeds:
        raise UserError("compare needs at least one method and one seed")
    planned = [_variant(config, method, seed) for method in dict.fromkeys(methods) for seed in dict.fromkeys(seeds)]
    for variant in planned:
        resolve_terms(variant.objective)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "runs").is_dir())):
        raise UserError(f"{out} holds something else: choose another --out, or remove it")
    failures: dict[str, str] = {}
    trained_seconds: list[float] = []
    for number, variant in enumerate(planned, start=1):
        path = out / "runs" / run_name(variant)
        left = _time_left(trained_seconds, planned[number - 1 :])
        print(f"── {number}/{len(planned)} {variant.objective.method} seed {variant.train.seed}{left}", flush=True)
        if _finished(path, variant):
            print("   finished before, kept", flush=True)
            continue
        started = time.monotonic()
        error = _run_in_process(variant, path)
        if resolve_terms(variant.objective):
            trained_seconds.append(time.monotonic() - started)
        if error is not None:
            failures[run_name(variant)] = error
            print(f"   failed: {error}", flush=True)
    runs = [out / "runs" / run_name(variant) for variant in planned if run_name(variant) not in failures]
    if not runs:
        raise UserError(f"every run failed; the first: {next(iter(failures.values()))}")
    table = make_table([read_run(path) for path in runs])
    table["failures"] = failures
    table["command"] = command
    write_json(out / "table.json", table)
    write_text(out / "table.md", table_markdown(table))
    report(runs, out / "report.html", command=command)
    return table


def _time_left(trained_seconds: list[float], remaining: Sequence[Config]) -> str:
    """From the mean over finished trainings; `random` trains nothing and would mislead."""
    if not trained_seconds:
        return ""
    count = sum(bool(resolve_terms(variant.objective)) for variant in remaining)
    return f", about {sum(trained_seconds) / len(trained_seconds) * count / 60:.1f} min left"


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


def _run_in_process(config: Config, path: Path) -> str | None:
    """Train, evaluate and draw in a fresh interpreter, so that memory and time are the run's own.

    Returns:
        None, or the line that says why it failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = path.parent / f"{path.name}.yaml"
    write_text(settings, yaml.safe_dump(to_dict(config), sort_keys=False))
    command = [
        sys.executable,
        "-m",
        "mrkd",
        "pretrain",
        "--config",
        str(settings),
        "--out",
        str(path),
        "--then",
        "evaluate,attend",
    ]
    finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    settings.unlink(missing_ok=True)
    if finished.returncode == 0:
        return None
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    return lines[-1].removeprefix("mrkd: ") if lines else f"exit status {finished.returncode}"
