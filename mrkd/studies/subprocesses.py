"""Run trainings in separate processes: each gets its share of the threads, and signals are passed on."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from mrkd.config import Config
from mrkd.config.overrides import to_dict
from mrkd.system.cpu import usable_cores
from mrkd.system.files import write_text
from mrkd.system.output import say
from mrkd.system.signals import StopRequest

_LOOK_SECONDS = 0.5


class Subprocesses:
    """The processes that train, at most `jobs` at a time."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.live: list[subprocess.Popen[str]] = []

    def pass_on(self, number: int) -> None:
        """Send a signal to all of them."""
        for child in list(self.live):
            if child.poll() is None:
                child.send_signal(number)

    def run(
        self,
        config: Config,
        path: Path,
        request: StopRequest,
        *,
        then: Sequence[str] = (),
        wanted: Callable[[], bool] | None = None,
        inherited: Sequence[int] = (),
    ) -> str | None:
        """Train in a fresh interpreter, so that memory and time are the run's own.

        Args:
            config: of the run.
            path: of the run.
            request: once it has received a signal, no process is started any more.
            then: verbs that follow in the same process, such as `evaluate`.
            wanted: asked twice a second; once it says no, the process is asked to stop. Nothing is shown meanwhile.
            inherited: open files, whose locks the process then holds for as long as it lives.
        Returns:
            None, or the line that says why it failed.
        """
        if request.received is not None:
            return "not started"
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = path.parent / f"{path.name}.yaml"
        write_text(settings, yaml.safe_dump(to_dict(config), sort_keys=False))
        command = [sys.executable, "-m", "mrkd", "pretrain", "--config", str(settings), "--out", str(path)]
        if then:
            command += ["--then", ",".join(then)]
        # One live bar has the terminal to itself; lines of several runs must not overwrite each other.
        shown = None if self.jobs == 1 else subprocess.PIPE
        with tempfile.TemporaryFile("w+", errors="backslashreplace") as complaints:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=shown if wanted is None else subprocess.DEVNULL,
                stderr=complaints,
                text=True,
                errors="backslashreplace",
                env=self._environment(),
                # A group of its own: Ctrl-C would otherwise reach it twice, and a second signal means 'at once'.
                process_group=0,
                pass_fds=inherited,
            )
            self.live.append(child)
            try:
                status = self._follow(child, path.name, request, wanted)
            except BaseException:
                child.terminate()
                child.wait()
                raise
            finally:
                self.live.remove(child)
                settings.unlink(missing_ok=True)
            complaints.seek(0)
            lines = [line for line in complaints.read().splitlines() if line.strip()]
        if status == 0:
            return None
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return lines[-1].removeprefix("mrkd: ") if lines else f"exit status {status}"

    def _follow(
        self, child: subprocess.Popen[str], name: str, request: StopRequest, wanted: Callable[[], bool] | None
    ) -> int:
        _catch_up(child, request)
        for line in child.stdout or ():
            say(f"   {name:24s} {line.rstrip()}")
        while wanted is not None and child.poll() is None:
            time.sleep(_LOOK_SECONDS)
            if not wanted():
                child.terminate()
                break
        return child.wait()

    def _environment(self) -> dict[str, str]:
        if self.jobs == 1:
            return dict(os.environ)
        threads = str(max(1, usable_cores() // self.jobs))
        return {**os.environ, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}


def _catch_up(child: subprocess.Popen[str], request: StopRequest) -> None:
    """Send a signal that came while the process was being started."""
    if request.received is not None:
        child.send_signal(request.received)
