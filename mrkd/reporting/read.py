"""What run directories say, as plain numbers and arrays."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrkd.config.keys import may_change
from mrkd.errors import UserError
from mrkd.runs.npz import read_npz
from mrkd.runs.run import CONFIG, EVALUATION, PIXELS, SEGMENTATION, SUMMARY, Run
from mrkd.system.files import read_json


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run, finished or not, as the report needs it."""

    path: Path
    name: str
    method: str
    seed: int
    config: dict[str, Any]
    """The settings, by section."""
    metrics: list[dict[str, Any]]
    summary: dict[str, Any] | None
    """None while it trains."""
    evaluation: dict[str, Any] | None
    segmentation: dict[str, Any] | None
    """How well attention finds objects; None where nobody knows where they are."""

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays in one of the run's files, or None when no verb has written it yet."""
        return read_npz(self.path / name) if (self.path / name).is_file() else None


def find_runs(paths: Sequence[str | Path]) -> list[Path]:
    """Run directories, with the directory of a comparison standing for its runs, in the order they were begun.

    Raises:
        UserError: there is nothing of the kind at one of the paths.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = (path / "runs").iterdir() if not Run(path).started and (path / "runs").is_dir() else []
        runs = sorted((run for run in inside if Run(run).started), key=_begun)
        if not runs and not Run(path).started:
            raise UserError(f"no run at {path}: expected a directory written by 'mrkd pretrain' or 'mrkd compare'")
        found += runs or [path]
    return found


def read_pixels(runs: Sequence[RunRecord]) -> dict[str, Any] | None:
    """How raw pixels do, where all these runs are of one comparison that has measured it."""
    folders = {run.path.parent for run in runs}
    if len(folders) != 1 or (folder := folders.pop()).name != "runs":
        return None
    return read_json(folder.parent / PIXELS) if (folder.parent / PIXELS).is_file() else None


def _begun(run: Path) -> float:
    return (run / CONFIG).stat().st_mtime


def read_runs(paths: Sequence[str | Path]) -> list[RunRecord]:
    """The runs at these paths and in these comparisons; those of one method side by side, by seed.

    Raises:
        UserError: as `find_runs` and `read_run`.
    """
    records = _told_apart([read_run(path) for path in find_runs(paths)])
    methods = list(dict.fromkeys(run.method for run in records))
    return sorted(records, key=lambda run: (methods.index(run.method), run.seed))


def _told_apart(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Methods whose runs differ in more than the seed get a name for each kind: their figures have no common mean."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for run in records:
        kinds.setdefault(run.method, []).append(_kind(run))
    times = Counter((run.method, run.seed) for run in records)
    named = []
    for run in records:
        own, more = _kind(run), ""
        differing = [key for key in own if any(kin.get(key, own[key]) != own[key] for kin in kinds[run.method])]
        if differing:
            more = ", " + ", ".join(f"{key.rpartition('.')[2]} {own[key]}" for key in differing[:_SHOWN])
        elif times[run.method, run.seed] > 1:
            more = f", {run.name}"
        named.append(dataclasses.replace(run, method=run.method + more))
    return named


_SHOWN = 3
"""Settings in a name."""


def _kind(run: RunRecord) -> dict[str, Any]:
    """Everything but the seed that figures depend on, by dotted name."""
    flat = {f"{section}.{key}": value for section, own in run.config.items() for key, value in _items(own)}
    kind = {key: value for key, value in flat.items() if key != "train.seed" and not may_change(key)}
    measured = {} if run.evaluation is None else run.evaluation["data"]
    return kind | {f"measured.{key}": measured[key] for key in ("name", "test_images", "scored_on") if key in measured}


def _items(section: Any) -> list[tuple[str, Any]]:
    return list(section.items()) if isinstance(section, dict) else []


def read_run(path: Path) -> RunRecord:
    """Read one run directory.

    Raises:
        UserError: there is no run, or one of its files is damaged.
    """
    run = Run(path)
    if not run.started:
        raise UserError(f"no run at {path}: expected a directory written by 'mrkd pretrain'")
    config = run.settings()
    try:
        method, seed = str(config["objective"]["method"]), int(config["train"]["seed"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path / CONFIG} must name objective.method and train.seed") from None

    def optional(name: str) -> Any:
        return read_json(path / name) if (path / name).is_file() else None

    return RunRecord(
        path=path,
        name=path.name or path.resolve().name,
        method=method,
        seed=seed,
        config=config,
        metrics=run.metrics(),
        summary=optional(SUMMARY),
        evaluation=optional(EVALUATION),
        segmentation=optional(SEGMENTATION),
    )
