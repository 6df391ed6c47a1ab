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
from mrkd.errors import Interrupted, UserError
from mrkd.losses.methods import resolve_terms
from mrkd.reporting import report
from mrkd.reporting.read import read_run
from mrkd.reporting.table import make_table, table_markdown
from mrkd.run import EVALUATION, Run, write_json, write_text
from mrkd.settings import differences, to_dict
from mrkd.signals import StopRequest


def compare(
    config: Config, methods: Sequence[str], seeds: Sequence[int], out: str | Path, command: str = ""
) -> dict[str, Any]:
    """Train, measure and draw every method with every seed under one config; write the table and the report.

    Runs that are already finished under the same config are kept, and an unfinished one goes on after its last
    checkpoint, so an interrupted comparison takes up where it was.

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
        Interrupted: SIGTERM or SIGINT came, and the run in progress has written its checkpoint.
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
    run = Run(path)
    run.check(config)
    if not run.started:
        return False
    # Stricter than resuming: the rows of one table must be measured alike, too.
    if changed := differences(run.config(), config):
        shown = ", ".join(f"{key}: {old} → {new}" for key, (old, new) in changed.items())
        raise UserError(f"{path} holds a run with other settings ({shown}): choose another --out, or remove it")
    return run.finished and (path / EVALUATION).is_file() and (path / "attention.png").is_file()


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
    child: subprocess.Popen[str] | None = None

    def pass_on(number: int) -> None:
        if child is not None:
            child.send_signal(number)

    with StopRequest(pass_on) as request:
        # A process group of its own: Ctrl-C would otherwise reach it twice, and a second signal means 'at once'.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
        if request.received is not None:
            child.send_signal(request.received)
        _, errors = child.communicate()
    settings.unlink(missing_ok=True)
    lines = [line for line in errors.splitlines() if line.strip()]
    if request.received is not None:
        said = f" ({lines[-1].removeprefix('mrkd: ')})" if lines else ""
        raise Interrupted.by(request.received, f"stopped in {path}{said}; the same command goes on from there")
    if child.returncode == 0:
        return None
    return lines[-1].removeprefix("mrkd: ") if lines else f"exit status {child.returncode}"
