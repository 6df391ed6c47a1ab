"""Loggers besides `metrics.jsonl`: TensorBoard files if tensorboardX is installed, wandb or MLflow on request.

They are called at log steps only. Nothing leaves the machine unless WANDB_MODE or MLFLOW_TRACKING_URI asks for it.
"""

import contextlib
import hashlib
import importlib.util
import math
import os
import time
from pathlib import Path
from typing import Any

from mrkd.config import Config
from mrkd.config.overrides import flatten, to_dict
from mrkd.errors import UserError
from mrkd.system.files import naming, read_json, write_json

TENSORBOARD = "tensorboard"
"""Folder of the event files in a run directory."""
MLFLOW_RUN = "mlflow-run.json"
"""Keeps where MLflow wrote and its own name of the run, so that an interrupted training goes on in the same one."""


def check_logger(name: str) -> None:
    """Check that the package of a logger is installed, before anything is written.

    Raises:
        UserError: `name` is neither "none" nor that of an installed package.
    """
    if name == "none":
        return
    if not _installed(name):
        raise UserError(f'--logger {name} needs a package that is not installed: pip install "mrkd[{name}]"')


def _installed(name: str) -> bool:
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None  # a folder, such as wandb leaves behind, is no package


class MetricsLoggers:
    """Sends rows of metrics to the loggers, which are made at the first row, when the first step is known."""

    def __init__(self, config: Config, path: Path) -> None:
        """Args: config of the run, whose logger is installed; path, the run's directory."""
        self.config, self.path = config, path
        self._loggers: list[Any] | None = None
        self._asked = _asked_for(config, path)
        self._event_files = _installed("tensorboardX")
        if not self._event_files:
            print('no TensorBoard files without tensorboardX: pip install "mrkd[tensorboard]"', flush=True)

    def log(self, row: dict[str, Any]) -> None:
        """Log one row of `metrics.jsonl`; terms get names such as `terms/koleo`, and text is left out."""
        if self._loggers is None:
            events = [_EventFile(self.path / TENSORBOARD, row["step"])] if self._event_files else []
            self._loggers = [*events, *self._asked]
            for logger in self._asked:
                if not isinstance(logger, _ResumedRun):
                    logger.log_hyperparams(flatten(to_dict(self.config), "config"))
        numbers = scalars(row)
        for logger in self._loggers:
            logger.log_metrics(numbers, step=row["step"])

    def close(self) -> None:
        """Flush everything to the disk."""
        for logger in self._loggers or ():
            logger.finalize("success")
        self._loggers = None


def scalars(row: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a row, without its step; nested keys are joined by a slash."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and name != "step":
            found[prefix + name] = float(value)
    return found


class _EventFile:
    """Writes TensorBoard's file format in the thread that logs.

    The usual writers use another thread. On a full disk that thread dies, and training hangs or prints its traceback.
    Here the error is raised where it can be reported in one line.
    """

    FLUSH_SECONDS = 30.0

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._event = folder, Event
        with naming(folder):
            # Its own names count seconds: a run that goes on at once would overwrite the file before.
            self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        self._flushed = time.monotonic()
        if first_step > 0:
            # After a resume, what an interrupted process wrote beyond the checkpoint is not shown.
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=first_step, session_log=start))

    def log_metrics(self, numbers: dict[str, float], step: int) -> None:
        """All numbers of one step as one record."""
        from tensorboardX.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()])
        with naming(self._folder):
            self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=summary))
            if time.monotonic() - self._flushed > self.FLUSH_SECONDS:
                self._flushed = time.monotonic()
                self._writer.flush()

    def finalize(self, status: str) -> None:
        """Flush everything to the disk."""
        with naming(self._folder):
            self._writer.close()


def _asked_for(config: Config, path: Path) -> list[Any]:
    make = {"none": None, "wandb": _wandb, "mlflow": _mlflow}[config.train.logger]
    return [] if make is None else [make(path)]


def _wandb(path: Path) -> Any:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would send its own errors home
    from lightning.pytorch.loggers import WandbLogger

    # The same directory is the same run, also after an interruption.
    identity = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    path.mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=os.environ.get("WANDB_PROJECT", "mrkd"),
        name=path.name,
        version=identity,
        save_dir=path,
        offline=os.environ.get("WANDB_MODE", "offline") == "offline",
    )


def _mlflow(path: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from lightning.pytorch.loggers import MLFlowLogger

    tracking = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{path.resolve() / 'mlflow.db'}")
    kept = path / MLFLOW_RUN
    before = read_json(kept) if kept.is_file() else {}
    if before.get("tracking_uri") == tracking:
        logger = MLFlowLogger("mrkd", run_name=path.name, tracking_uri=tracking, run_id=before["run_id"])
        with contextlib.suppress(_mlflow_error()):  # the run may have been deleted there
            if logger.experiment is not None:
                return _ResumedRun(logger)
    logger = MLFlowLogger("mrkd", run_name=path.name, tracking_uri=tracking)
    write_json(kept, {"tracking_uri": tracking, "run_id": logger.run_id})
    return logger


def _mlflow_error() -> type[Exception]:
    from mlflow.exceptions import MlflowException

    return MlflowException


class _ResumedRun:
    """The MLflow run of a resumed training. It already has its settings, and MLflow refuses other values for them."""

    def __init__(self, logger: Any) -> None:
        self.log_metrics, self.finalize = logger.log_metrics, logger.finalize
