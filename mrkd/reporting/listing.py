"""`mrkd runs`: list all runs below a folder, with method, data, progress, state, k-NN and verdict."""

import dataclasses
import math
import os
import re
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mrkd.config.overrides import read_scalars
from mrkd.config.source import source_name
from mrkd.errors import UserError
from mrkd.runs.metrics import Row, complete_lines, parse_row
from mrkd.runs.run import CHECKPOINTS, CONFIG, FAILURE, METRICS, SUMMARY, RunDirectory
from mrkd.system.files import read_json
from mrkd.system.output import printable

State = Literal["running", "finished", "stopped", "failed", "damaged"]


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """A run in the list."""

    name: str
    """Path relative to the listed folder."""
    state: State
    """`stopped` runs can be resumed, `failed` ones ended with an error, `damaged` ones cannot be read."""
    age_seconds: float
    """Seconds since a file was last written."""
    method: str = ""
    data: str = ""
    seed: int | None = None
    step: int | None = None
    """Last logged step."""
    steps: int | None = None
    """Length of the run in steps; None before the first step."""
    knn: float | None = None
    """Last k-NN on held-out training images, in percent."""
    best_knn: float | None = None
    verdict: str = ""
    """Kind of the verdict, such as `healthy`."""
    reason: str = ""
    """Why the run failed or cannot be read."""


def list_runs(folder: str | os.PathLike[str]) -> list[RunLine]:
    """List all runs at or below `folder`, in natural order: `run-2` before `run-10`.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    return [
        read_line(path, _name(path, folder))
        for path in sorted(_runs_in(folder), key=lambda path: natural_key(_name(path, folder)))
    ]


def _runs_in(folder: Path) -> Iterator[Path]:
    """Folders that are runs; what a run keeps in folders of its own is not looked through."""
    for place, folders, files in os.walk(folder):
        if CONFIG in files and _is_run(Path(place)):
            yield Path(place)
            folders.clear()


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key for natural order: numbers inside names sort by value."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", name.lower())]


def _is_run(path: Path) -> bool:
    return (path / METRICS).is_file() or (path / CHECKPOINTS).is_dir()


def _name(path: Path, folder: Path) -> str:
    return path.name if path == folder else str(path.relative_to(folder))


def read_line(path: Path, name: str) -> RunLine:
    """One run under this name; whatever is wrong with its files is told in its line and hides no other."""
    age = 0.0
    try:
        age = time.time() - max(_written(path / file) for file in (CONFIG, METRICS, SUMMARY, FAILURE))
        line = RunLine(name=name, age_seconds=age, **_state(path), **_settings_and_progress(path))
        return dataclasses.replace(line, reason=_cut_short(line)) if line.state == "finished" else line
    except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return RunLine(name=name, age_seconds=age, state="damaged", reason=_short(reason))


def _cut_short(line: RunLine) -> str:
    """That a finished run's metrics do not reach its end; empty where they do."""
    if line.step is None:
        return f"finished, but {METRICS} is missing or holds nothing"
    if line.steps is not None and line.step < line.steps:
        return f"finished, but {METRICS} ends with step {line.step:,} of {line.steps:,}: it was cut off"
    return ""


def _written(file: Path) -> float:
    return file.stat().st_mtime if file.is_file() else 0.0


def _short(text: object) -> str:
    return textwrap.shorten(printable(text), 300, placeholder=" …")


def _state(path: Path) -> dict[str, Any]:
    run = RunDirectory(path)
    if run.being_written:
        return {"state": "running"}
    if run.finished:
        return {"state": "finished"}
    failure = path / FAILURE
    if failure.is_file():
        return {"state": "failed", "reason": _short(read_json(failure)["reason"])}
    return {"state": "stopped"}


def _settings_and_progress(path: Path) -> dict[str, Any]:
    settings = read_scalars(path / CONFIG)
    known = {
        "method": _short(settings["objective.method"]),
        "data": _short(source_name(settings["data.source"])),
        "seed": int(settings["train.seed"]),
    }
    last, measured = _last_and_measured(path / METRICS)
    if last is None:
        return known
    known |= {"step": last["step"], "verdict": _short(last.get("verdict", ""))}
    epoch = float(last["epoch"])
    if not math.isfinite(epoch):
        raise UserError(f"the last epoch in {METRICS} is no number")
    if epoch:
        given = settings.get("train.steps", "null")
        length = last["step"] / epoch * float(settings["train.epochs"])
        known["steps"] = int(given) if given.isdecimal() else round(length)
    if measured:
        known |= {"knn": measured[-1], "best_knn": max(measured)}
    return known


def _last_and_measured(path: Path) -> tuple[Row | None, list[float]]:
    """The last row of the metrics, and every k-NN in them; only these rows are parsed."""
    last, measured = None, []
    for number, line in complete_lines(path):
        last = number, line
        if b'"knn"' in line:
            measured.append(_percent(parse_row(path, number, line)["knn"]))
    return (None if last is None else parse_row(path, *last)), measured


def _percent(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise UserError(f"a k-NN in {METRICS} must be a percentage, got {value!r}")
    return float(value)


def describe_age(seconds: float) -> str:
    """`40 s`, `3 min`, `5 h`, `12 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def runs_table(lines: Sequence[RunLine]) -> list[tuple[str, ...]]:
    """The cells of the list as text, with a row of headings first."""
    rows: list[tuple[str, ...]] = [
        ("run", "method", "data", "seed", "steps", "state", "k-NN", "best", "verdict", "written")
    ]
    for line in lines:
        steps = "" if line.step is None else f"{line.step}/{'?' if line.steps is None else line.steps}"
        figures = ["" if value is None else f"{value:.1f}" for value in (line.knn, line.best_knn)]
        rows.append(
            (
                printable(line.name),
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
