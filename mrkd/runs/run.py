"""The run directory: config, metrics, weights, results. Every file is replaced atomically; one writer at a time.

Training writes it with `RunDirectory`. The `Run` that `mrkd.pretrain` returns is in `mrkd.api.run`.

config.yaml          the resolved settings
metrics.jsonl        one JSON object per logged step
tensorboard/         the same numbers as event files
summary.json         seconds, memory, versions, last health verdict; its presence means the training finished
backbone.safetensors the teacher's backbone, in timm's own names
checkpoints/         everything that training goes on from (see `mrkd.runs.checkpoint`)
failure.json         why the training ended before its end, when it was an error
broken.json          names of images that could not be read
nonfinite-step-*.npz the batch at which a number was NaN or infinite
mlflow-run.json      where MLflow keeps the run, when it was asked for
run.lock             held by the process that writes
relations.npz        distances between the class tokens of one fixed batch, at every monitoring
evaluation.json, embedding.npz, attention.png, attention.npz, attention.json   added by the other verbs
"""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Protocol

import yaml

from mrkd.config import Config
from mrkd.config.keys import may_change, with_present_names
from mrkd.config.overrides import build, differences, flatten, read_yaml, to_dict
from mrkd.errors import UserError
from mrkd.runs.lock import LOCK, DirectoryLock, is_locked
from mrkd.runs.metrics import complete_lines, parse_row
from mrkd.system.files import TEMPORARY, remove_leftovers, require_utf8, write_json, write_text

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
BACKBONE = "backbone.safetensors"
EVALUATION = "evaluation.json"
FAILURE = "failure.json"
EMBEDDING = "embedding.npz"
ATTENTION_FIGURE = "attention.png"
ATTENTION = "attention.npz"
SEGMENTATION = "attention.json"
RELATIONS = "relations.npz"
BROKEN = "broken.json"
PIXELS = "pixels.json"
"""In the folder of a comparison: its data's raw pixels, measured as its runs are."""
CHECKPOINTS = "checkpoints"
_SECTIONS = ("data", "model", "objective", "optim", "train", "evaluation", "attention")
"""Of the settings; every version has written them, the last one last."""


class MetricsObserver(Protocol):
    """Is told every row of metrics."""

    def log(self, row: dict[str, Any]) -> None:
        """After it has been written to `metrics.jsonl`."""

    def close(self) -> None:
        """When the run's directory is let go of."""


class RunDirectory:
    """A directory that holds one training run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock: DirectoryLock | None = None
        self._observers: list[MetricsObserver] = []

    @classmethod
    def start(cls, path: str | os.PathLike[str], config: Config) -> "RunDirectory":
        """Take a new or empty directory, or one with an unfinished run of the same config; lock it, write the config.

        Raises:
            UserError: it holds something else, another config, or another process is writing it.
        """
        run = cls(path)
        run.check(config)
        run.path.mkdir(parents=True, exist_ok=True)
        run._lock = DirectoryLock(run.path)
        try:
            run.check(config)  # once more: another process may have come and gone before the lock
            if run.finished:
                raise UserError(f"{run.path} has just been finished by another process")
            run._remove_temporary_files()
            (run.path / FAILURE).unlink(missing_ok=True)
            # The config comes first: a directory killed before it is still taken for an empty one.
            write_text(run.path / CONFIG, yaml.safe_dump(to_dict(config), sort_keys=False))
            (run.path / CHECKPOINTS).mkdir(exist_ok=True)
        except BaseException:
            run.close()
            raise
        return run

    def check(self, config: Config) -> None:
        """Refuse a directory that this config cannot be trained in.

        Raises:
            UserError: says what the directory holds, or which settings differ.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out must be a directory, got the file {self.path}")
        if not self.started:
            require_utf8(self.path)
            if self.path.exists() and any(not _is_leftover(entry) for entry in self.path.iterdir()):
                raise UserError(f"{self.path} is not empty: choose another --out, or remove it")
            return
        changed = differences(self.config(), config)
        refused = {key: values for key, values in changed.items() if not may_change(key)}
        # Nothing else may change but the length, which may grow.
        if not self.finished and "train.epochs" in refused and config.train.epochs > refused["train.epochs"][0]:
            del refused["train.epochs"]
        if refused:
            holds = "a finished run" if self.finished else "an unfinished run"
            shown = ", ".join(f"{key}: {old} → {new}" for key, (old, new) in refused.items())
            raise UserError(f"{self.path} already holds {holds} with other settings ({shown}): choose another --out")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunDirectory":
        """An existing, finished run.

        Raises:
            UserError: there is none at this path, or its training has not finished.
        """
        run = cls(path)
        if not run.started:
            raise UserError(f"no run at {run.path}: expected a directory written by 'mrkd pretrain'")
        if not run.finished:
            raise UserError(f"the run at {run.path} has not finished training: mrkd pretrain --resume {run.path}")
        return run

    @property
    def started(self) -> bool:
        """Whether there is a run at all."""
        return (self.path / CONFIG).is_file()

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / SUMMARY).is_file()

    @property
    def being_written(self) -> bool:
        """Whether a process holds the directory just now."""
        return is_locked(self.path)

    def check_held(self) -> None:
        """Before anything is written: the directory is still the one that this process took, if it took one.

        Raises:
            UserError: another one has taken its name.
        """
        if self._lock is not None:
            self._lock.check()

    def note_failure(self, error: Exception) -> None:
        """Leave the reason for `mrkd runs`; it goes when the run goes on."""
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        # On a full disk there is no room for a reason, and the error itself is on its way to the user.
        if not self.path.is_dir() or (self._lock is not None and not self._lock.in_place):
            return  # neither may a vanished directory come back, nor another run be told to have failed
        with contextlib.suppress(OSError):
            write_json(self.path / FAILURE, {"reason": " ".join(reason.split())[:500]})

    def _remove_temporary_files(self) -> None:
        for folder in (self.path, self.path / CHECKPOINTS):
            if folder.is_dir():
                remove_leftovers(folder)

    def close(self) -> None:
        """Release the directory."""
        try:
            while self._observers:
                self._observers.pop().close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def settings(self) -> dict[str, Any]:
        """The stored settings, nested and unchecked; those of an older version under the names they have now."""
        return with_present_names(read_yaml(self.path / CONFIG))

    def config(self) -> Config:
        """The resolved config of the run.

        Raises:
            UserError: the file is damaged or cut off.
        """
        return build(self.flat_settings())

    def flat_settings(self) -> dict[str, Any]:
        """The stored settings by dotted key, of a file with all sections that every version has written.

        Raises:
            UserError: the file is damaged or cut off: what is missing would silently be the default.
        """
        path, settings = self.path / CONFIG, self.settings()
        missing = [section for section in _SECTIONS if not isinstance(settings.get(section), dict)]
        if missing:
            raise UserError(f"{path} is damaged or cut off, without the section {missing[0]!r}: restore the file")
        return flatten(settings, str(path))

    def store_place_of_images(self, source: str) -> None:
        """Have the settings say that the images lie elsewhere now; whoever calls this has compared them.

        Raises:
            UserError: another process is writing the run.
        """
        lock = DirectoryLock(self.path)
        try:
            config = self.config()
            moved = dataclasses.replace(config, data=dataclasses.replace(config.data, source=source))
            write_text(self.path / CONFIG, yaml.safe_dump(to_dict(moved), sort_keys=False))
        finally:
            lock.release()

    def report_to(self, observer: MetricsObserver) -> None:
        """Have `observer` told every row from now on."""
        self._observers.append(observer)

    def log(self, row: dict[str, Any]) -> None:
        """Append one line of metrics."""
        self.check_held()
        path = self.path / METRICS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            error.filename = str(path)  # writing, unlike opening, does not say what was written
            raise
        for observer in self._observers:
            observer.log(row)

    def sync_metrics(self) -> None:
        """Have the lines on the disk before a checkpoint relies on them."""
        self.check_held()
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def keep_metrics(self, last_step: int) -> None:
        """Drop the lines after `last_step`, which will be written again, and a last line that a crash cut off."""
        self.check_held()
        rows = [row for row in self.metrics() if row["step"] <= last_step]
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def metrics(self) -> list[dict[str, Any]]:
        """All logged lines; empty for a run without steps. A last line that a crash cut off is left out.

        Raises:
            UserError: another line is damaged.
        """
        path = self.path / METRICS
        return [parse_row(path, number, line) for number, line in complete_lines(path)]


def _is_leftover(entry: Path) -> bool:
    """The lock, or the temporary file of a writer that was killed."""
    return entry.name == LOCK or entry.name.startswith(TEMPORARY)
