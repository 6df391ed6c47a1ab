"""Read run directories into plain numbers and arrays."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrkd.config.keys import may_change
from mrkd.config.source import source_name
from mrkd.errors import UserError
from mrkd.runs.metrics import ThinnedMetrics
from mrkd.runs.npz import read_npz
from mrkd.runs.run import CONFIG, EVALUATION, METRICS, PIXELS, SEGMENTATION, SUMMARY, RunDirectory
from mrkd.system.files import read_json


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The files of a run that the report needs; the run may be unfinished."""

    path: Path
    name: str
    method: str
    seed: int
    config: dict[str, Any]
    """The settings, by section."""
    metrics: list[dict[str, Any]]
    """Of a long run only some, evenly spaced, and the last."""
    summary: dict[str, Any] | None
    """Content of `summary.json`; None during training."""
    evaluation: dict[str, Any] | None
    segmentation: dict[str, Any] | None
    """Overlap of attention with objects; None for data without object masks."""

    @property
    def label(self) -> str:
        """Method and seed, for people."""
        return f"{self.method} seed {self.seed}"

    def section(self, name: str) -> dict[str, Any]:
        """A section of the settings; empty if there is none."""
        section = self.config.get(name)
        return section if isinstance(section, dict) else {}

    @property
    def data_name(self) -> str:
        """Short name of the data."""
        measured = (self.evaluation or {}).get("data", {})
        return str(measured.get("name") or source_name(str(self.section("data").get("source", ""))))

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays in a file of the run; None if the file does not exist yet."""
        return read_npz(self.path / name) if (self.path / name).is_file() else None


def find_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Find run directories; the directory of a comparison stands for its runs. Sorted by start of the run.

    Raises:
        UserError: there is no run or comparison at one of the paths.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = (path / "runs").iterdir() if not RunDirectory(path).started and (path / "runs").is_dir() else []
        runs = sorted((run for run in inside if RunDirectory(run).started), key=_begun)
        if not runs and not RunDirectory(path).started:
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


def read_runs(
    paths: Sequence[str | os.PathLike[str]], known: dict[Path, ThinnedMetrics] | None = None
) -> list[RunRecord]:
    """Read the runs at these paths and in these comparisons, grouped by method and sorted by seed.

    Args:
        paths: run directories, or directories of comparisons.
        known: keeps the metrics between calls, so that each reads only what is new.
    Raises:
        UserError: as `find_runs` and `read_run`.
    """
    records = _told_apart([read_run(path, known) for path in find_runs(paths)])
    methods = list(dict.fromkeys(run.method for run in records))
    return sorted(records, key=lambda run: (methods.index(run.method), run.seed))


def _told_apart(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Rename methods whose runs differ in more than the seed: such runs must not share a mean."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for run in records:
        kinds.setdefault(run.method, []).append(settings_of_results(run))
    times = Counter((run.method, run.seed) for run in records)
    named = []
    for run in records:
        own, more = settings_of_results(run), ""
        differing = [key for key in own if any(kin.get(key, own[key]) != own[key] for kin in kinds[run.method])]
        if differing:
            more = ", " + ", ".join(f"{key.rpartition('.')[2]} {own[key]}" for key in differing[:_SHOWN])
        elif times[run.method, run.seed] > 1:
            more = f", {run.name}"
        named.append(dataclasses.replace(run, method=run.method + more))
    return named


_SHOWN = 3
"""Maximum number of settings in such a name."""


def settings_of_results(run: RunRecord) -> dict[str, Any]:
    """All settings except the seed that affect results, by dotted key."""
    flat = {f"{section}.{key}": value for section, own in run.config.items() for key, value in _items(own)}
    kind = {key: value for key, value in flat.items() if key != "train.seed" and not may_change(key)}
    measured = {} if run.evaluation is None else run.evaluation["data"]
    return kind | {f"measured.{key}": measured[key] for key in ("name", "test_images", "scored_on") if key in measured}


def _items(section: Any) -> list[tuple[str, Any]]:
    return list(section.items()) if isinstance(section, dict) else []


def read_run(path: Path, known: dict[Path, ThinnedMetrics] | None = None) -> RunRecord:
    """Read one run directory; `known` as in `read_runs`.

    Raises:
        UserError: there is no run, or one of its files is damaged.
    """
    run = RunDirectory(path)
    if not run.started:
        raise UserError(f"no run at {path}: expected a directory written by 'mrkd pretrain'")
    config = run.settings()
    try:
        method, seed = str(config["objective"]["method"]), int(config["train"]["seed"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path / CONFIG} must name objective.method and train.seed") from None

    metrics = ({} if known is None else known).setdefault(path, ThinnedMetrics(path / METRICS))

    return RunRecord(
        path=path,
        name=path.name or path.resolve().name,
        method=method,
        seed=seed,
        config=config,
        metrics=metrics.read(),
        summary=_optional(path / SUMMARY, device=str, versions=dict),
        evaluation=_optional(path / EVALUATION, data=dict),
        segmentation=_optional(path / SEGMENTATION, jaccard=dict, mass=list),
    )


def _optional(path: Path, **needed: type) -> dict[str, Any] | None:
    """The object in a JSON file with at least these entries, or None where there is no file.

    Raises:
        UserError: it is damaged or of another kind.
    """
    if not path.is_file():
        return None
    found = read_json(path)
    for name, kind in needed.items():
        if not isinstance(found, dict) or not isinstance(found.get(name), kind):
            raise UserError(f"{path} must be a JSON object with {', '.join(needed)}: remove it, and make it again")
    assert isinstance(found, dict)
    return found
