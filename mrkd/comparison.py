"""Methods x seeds on one data set, each in a process of its own, into one table."""

import dataclasses
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mrkd.config import Config, to_dict
from mrkd.errors import UserError
from mrkd.losses.methods import resolve_terms
from mrkd.reporting import report
from mrkd.reporting.read import FIGURES, flat_figures
from mrkd.run import CONFIG, EVALUATION, SUMMARY, Run, read_json, write_json, write_text


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
    started, done = time.monotonic(), 0
    for number, variant in enumerate(planned, start=1):
        name = run_name(variant)
        left = (
            f", about {(time.monotonic() - started) / done * (len(planned) - number + 1) / 60:.1f} min left"
            if done
            else ""
        )
        print(f"── {number}/{len(planned)} {variant.objective.method} seed {variant.train.seed}{left}", flush=True)
        if _finished(out / "runs" / name, variant):
            print("   finished before, kept", flush=True)
            continue
        error = _run_in_process(variant, out / "runs" / name)
        done += 1
        if error is not None:
            failures[name] = error
            print(f"   failed: {error}", flush=True)
    runs = [out / "runs" / run_name(variant) for variant in planned if run_name(variant) not in failures]
    if not runs:
        raise UserError(f"every run failed; the first: {next(iter(failures.values()))}")
    table = make_table(runs)
    table["failures"] = failures
    table["command"] = command
    write_json(out / "table.json", table)
    write_text(out / "table.md", table_markdown(table))
    report(runs, out / "report.html", command=command)
    return table


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


def make_table(runs: Sequence[Path]) -> dict[str, Any]:
    """Mean and sample std over the seeds of every method, in the order of the runs."""
    by_method: dict[str, list[dict[str, float]]] = {}
    seeds: dict[str, list[int]] = {}
    data: dict[str, Any] = {}
    for path in runs:
        summary, evaluation = read_json(path / SUMMARY), read_json(path / EVALUATION)
        by_method.setdefault(summary["method"], []).append(flat_figures(evaluation, summary))
        seeds.setdefault(summary["method"], []).append(summary["seed"])
        data = {**evaluation["data"], "device": summary["device"], "versions": summary["versions"]}
    rows = []
    for method, figures in by_method.items():
        row: dict[str, Any] = {"method": method, "seeds": seeds[method]}
        for key in FIGURES:
            values = [figure[key] for figure in figures if key in figure]
            if values:
                row[key] = _mean_std(values)
        rows.append(row)
    return {"rows": rows, "data": data}


def _mean_std(values: list[float]) -> dict[str, float | None]:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return {"mean": mean, "std": None}
    return {"mean": mean, "std": math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))}


def table_markdown(table: dict[str, Any]) -> str:
    """The table for a README: one row per method, mean ± std where there are several seeds."""
    keys = [key for key in FIGURES if any(key in row for row in table["rows"])]
    lines = ["| method | " + " | ".join(FIGURES[key] for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for row in table["rows"]:
        cells = [format_cell(row.get(key)) for key in keys]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    data = table["data"]
    seeds = sorted({seed for row in table["rows"] for seed in row["seeds"]})
    lines.append(
        f"\n{data['name']}: {data['train_images']} training images, scored on {data['test_images']} images of "
        f"the {data['scored_on']} split; seeds {', '.join(map(str, seeds))}; {data['device']}. Percent unless "
        "stated."
    )
    return "\n".join(lines) + "\n"


def format_cell(value: dict[str, float | None] | None) -> str:
    """`93.2 ± 0.4`, `93.2` for one seed, or a dash."""
    if value is None or value["mean"] is None:
        return "–"
    return f"{value['mean']:.1f}" + ("" if value["std"] is None else f" ± {value['std']:.1f}")
