"""Progress of long work: a live bar on a terminal, a plain line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 5.0
QUIET_SECONDS = 3.0
"""Work that usually is shorter, and shows itself only when it is not, takes this as `quiet_seconds`."""


class Bar:
    """Use as a context manager; call `advance` once per step.

    Args:
        title: what is being done.
        steps: how many there are.
        done: how many of them were done before.
        quiet_seconds: nothing is shown of work that ends sooner.
    """

    def __init__(self, title: str, steps: int, done: int = 0, quiet_seconds: float = 0.0) -> None:
        self.title, self.steps, self.step, self.done_before = title, steps, done, done
        self.quiet_seconds = quiet_seconds
        self.started = self.last_line = time.monotonic()
        console = Console()
        self.live: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[status]}"),
            )
            self.live = Progress(*columns, console=console)
            self.task = self.live.add_task(title, total=steps, completed=done, status="")

    def __enter__(self) -> Self:
        self._show(time.monotonic())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def advance(self, status: str, steps: int = 1) -> None:
        """So many steps done; `status` holds the few numbers that tell whether it is going well."""
        self.step += steps
        now = time.monotonic()
        self._show(now)
        if self.live is not None:
            self.live.update(self.task, advance=steps, status=status)
            return
        if now - self.started < self.quiet_seconds:
            return
        if now - self.last_line >= LINE_SECONDS or self.step == self.steps:
            self.last_line = now
            left = (now - self.started) / (self.step - self.done_before) * (self.steps - self.step)
            print(f"{self.title} {self.step}/{self.steps} · {left:.0f} s left · {status}", flush=True)

    def _show(self, now: float) -> None:
        if self.live is not None and now - self.started >= self.quiet_seconds:
            self.live.start()

    def say(self, message: str) -> None:
        """A line above the bar."""
        if self.live is not None:
            self.live.console.print(message)
        else:
            print(message, flush=True)
