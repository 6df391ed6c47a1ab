"""The run directory: config, metrics, weights, results. Every file is replaced atomically; one writer at a time.

config.yaml          the resolved settings
metrics.jsonl        one JSON object per logged step
summary.json         seconds, memory, versions, last health verdict; its presence means the training finished
backbone.safetensors the teacher's backbone, in timm's own names
checkpoints/last.pt  student, teacher, optimizer and centres after the last epoch
evaluation.json, attention.png, attention.npz   added by the other verbs
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mrkd.config import Config
from mrkd.errors import UserError
from mrkd.settings import build, flatten, read_yaml, to_dict

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
BACKBONE = "backbone.safetensors"
EVALUATION = "evaluation.json"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, readable by people."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or a UserError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


class Run:
    """A directory that holds one training run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: Any = None

    @classmethod
    def create(cls, path: str | Path, config: Config) -> "Run":
        """Take an empty or new directory, lock it and write the config.

        Raises:
            UserError: it holds something already, or another process is writing it.
        """
        run = cls(path)
        if run.path.exists() and not run.path.is_dir():
            raise UserError(f"--out must be a directory, got the file {run.path}")
        if run.finished:
            raise UserError(f"{run.path} already holds a finished run: choose another --out, or remove it")
        if run.path.exists() and any(entry.name != "run.lock" for entry in run.path.iterdir()):
            raise UserError(f"{run.path} is not empty: choose another --out, or remove it")
        run.path.mkdir(parents=True, exist_ok=True)
        run._acquire()
        write_text(run.path / CONFIG, yaml.safe_dump(to_dict(config), sort_keys=False))
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing, finished run.

        Raises:
            UserError: there is none at this path, or its training has not finished.
        """
        run = cls(path)
        if not (run.path / CONFIG).is_file():
            raise UserError(f"no run at {run.path}: expected a directory written by 'mrkd pretrain'")
        if not run.finished:
            raise UserError(f"the run at {run.path} has not finished training")
        return run

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / SUMMARY).is_file()

    def _acquire(self) -> None:
        # The kernel drops the lock with the process, so a crash never leaves a stale one.
        self._lock = (self.path / "run.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is writing {self.path}") from None

    def close(self) -> None:
        """Release the directory."""
        if self._lock is not None:
            self._lock.close()
            (self.path / "run.lock").unlink(missing_ok=True)
            self._lock = None

    def config(self) -> Config:
        """The resolved config of the run."""
        return build(flatten(read_yaml(self.path / CONFIG), str(self.path / CONFIG)))

    def log(self, row: dict[str, Any]) -> None:
        """Append one line of metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All logged lines; empty for a run without steps."""
        path = self.path / METRICS
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
