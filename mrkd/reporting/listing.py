"""All runs below a folder, one line each: what they are, how far they have come, how well they do."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mrkd.config.overrides import read_yaml
from mrkd.config.source import source_name
from mrkd.errors import UserError
from mrkd.runs.run import CHECKPOINTS, CONFIG, FAILURE, METRICS, SUMMARY, Run

State = Literal["running", "finished", "stopped", "failed", "damaged"]


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """One run."""

    name: str
    """Path below the folder that was asked about."""
    state: State
    """`stopped` runs go on when asked to; `failed` ones ended by an error; `damaged` ones cannot be read."""
    age_seconds: float
    """Since something was last written."""
    method: str = ""
    data: str = ""
    seed: int | None = None
    step: int | None = None
    """Last step in the metrics."""
    steps: int | None = None
    """Of the whole run; None before the first step."""
    knn: float | None = None
    """Percent, last measured on held-out training images."""
    best_knn: float | None = None
    verdict: str = ""
    """Its kind, such as `healthy`."""
    reason: str = ""
    """Why it failed or cannot be read."""


def list_runs(folder: str | Path) -> list[RunLine]:
    """Every run at or below `folder`, in the order in which people count: `run-2` before `run-10`.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    found = [config.parent for config in folder.rglob(CONFIG) if _is_run(config.parent)]
    return [_line(path, folder) for path in sorted(found, key=lambda path: natural_key(_name(path, folder)))]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A key under which numbers inside names sort as numbers."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", name.lower())]


def _is_run(path: Path) -> bool:
    return (path / METRICS).is_file() or (path / CHECKPOINTS).is_dir()


def _name(path: Path, folder: Path) -> str:
    return path.name if path == folder else str(path.relative_to(folder))


def _line(path: Path, folder: Path) -> RunLine:
    written = [path / name for name in (CONFIG, METRICS, SUMMARY, FAILURE)]
    age = time.time() - max(file.stat().st_mtime for file in written if file.is_file())
    try:
        return RunLine(name=_name(path, folder), age_seconds=age, **_state(path), **_settings(path), **_progress(path))
    except (UserError, KeyError, TypeError, AttributeError, ValueError) as error:
        return RunLine(name=_name(path, folder), age_seconds=age, state="damaged", reason=str(error))


def _state(path: Path) -> dict[str, Any]:
    run = Run(path)
    if run.being_written:
        return {"state": "running"}
    if run.finished:
        return {"state": "finished"}
    failure = path / FAILURE
    if failure.is_file():
        return {"state": "failed", "reason": json.loads(failure.read_text(encoding="utf-8"))["reason"]}
    return {"state": "stopped"}


def _settings(path: Path) -> dict[str, Any]:
    # Plain YAML, unchecked: hundreds of runs are listed in the time that checking one config takes.
    tree = read_yaml(path / CONFIG)
    data = source_name(tree["data"]["source"])
    return {"method": tree["objective"]["method"], "data": data, "seed": tree["train"]["seed"]}


def _progress(path: Path) -> dict[str, Any]:
    rows = Run(path).metrics()
    if not rows:
        return {}
    last = rows[-1]
    measured = [row["knn"] for row in rows if "knn" in row]
    progress = {"step": last["step"], "verdict": last.get("verdict", "")}
    if last["epoch"]:
        train = read_yaml(path / CONFIG)["train"]
        progress["steps"] = train.get("steps") or round(last["step"] / last["epoch"] * train["epochs"])
    if measured:
        progress |= {"knn": measured[-1], "best_knn": max(measured)}
    return progress


def describe_age(seconds: float) -> str:
    """`40 s`, `3 min`, `5 h`, `12 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def runs_table(lines: Sequence[RunLine]) -> list[tuple[str, ...]]:
    """The cells people read, a heading first."""
    rows: list[tuple[str, ...]] = [
        ("run", "method", "data", "seed", "steps", "state", "k-NN", "best", "verdict", "written")
    ]
    for line in lines:
        steps = "" if line.step is None else f"{line.step}/{'?' if line.steps is None else line.steps}"
        figures = ["" if value is None else f"{value:.1f}" for value in (line.knn, line.best_knn)]
        rows.append(
            (
                line.name,
                line.method,
                line.data,
                "" if line.seed is None else str(line.seed),
                steps,
                line.state,
                *figures,
                line.reason or line.verdict,
                f"{describe_age(line.age_seconds)} ago",
            )
        )
    return rows
