"""Progress of long work: a live bar on a terminal, a plain line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from mrkd.system.output import printable, say

LINE_SECONDS = 5.0
QUIET_SECONDS = 3.0
"""Work that usually is shorter, and shows itself only when it is not, takes this as `quiet_seconds`."""
_SMALLEST_BAR = 8
"""Cells."""


class Bar:
    """Use as a context manager; call `advance` once per step.

    Args:
        title: what is being done.
        steps: how many there are.
        done: how many of them were done before.
        quiet_seconds: nothing is shown of work that ends sooner.
        status: the numbers to show before `advance` brings the first ones.
    """

    def __init__(self, title: str, steps: int, done: int = 0, quiet_seconds: float = 0.0, status: str = "") -> None:
        self.title, self.steps, self.step, self.done_before = printable(title), steps, done, done
        self.quiet_seconds, self.status = quiet_seconds, printable(status)
        self.started = self.last_line = time.monotonic()
        console = Console()
        self.live: Progress | None = None
        if console.is_terminal:
            self.live = Progress(*_columns(console, steps), console=console)
            self.task = self.live.add_task(self.title, total=steps, completed=done, status=self.status)

    def __enter__(self) -> Self:
        self._show(time.monotonic())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def advance(self, status: str = "", steps: int = 1) -> None:
        """So many steps done.

        Args:
            status: the few numbers that tell whether it is going well; when empty, the last ones stay.
            steps: since the last call.
        """
        self.step += steps
        self.status = printable(status) or self.status
        now = time.monotonic()
        self._show(now)
        if self.live is not None:
            self.live.update(self.task, advance=steps, status=self.status)
            return
        if now - self.started < self.quiet_seconds:
            return
        if now - self.last_line >= LINE_SECONDS or self.step == self.steps:
            self.last_line = now
            left = (now - self.started) / (self.step - self.done_before) * (self.steps - self.step)
            say(" · ".join(filter(None, (f"{self.title} {self.step}/{self.steps}", f"{left:.0f} s left", self.status))))

    def _show(self, now: float) -> None:
        if self.live is not None and now - self.started >= self.quiet_seconds:
            self.live.start()

    def say(self, message: str) -> None:
        """A line above the bar."""
        if self.live is not None:
            self.live.console.print(Text(printable(message)))
        else:
            say(message)


def _columns(console: Console, steps: int) -> tuple[ProgressColumn, ...]:
    """The status is what a narrow terminal keeps longest; the bar goes first, then the time, then the title's end."""

    def column(min_width: int | None = None) -> Column:
        return Column(no_wrap=True, overflow="ellipsis", min_width=min_width)

    counts = len(f"{steps}/{steps}")

    return (
        TextColumn("{task.description}", markup=False, table_column=column()),
        _BarWhereThereIsRoom(console),
        TextColumn("{task.completed}/{task.total}", markup=False, table_column=column(counts)),
        _TimeWhereThereIsRoom(console),
        TextColumn("{task.fields[status]}", markup=False, table_column=column()),
    )


_TIME_WIDTH = len("0:00:00")


def _room(console: Console, task: Task) -> int:
    """Cells that title, count and status leave, with a space before each of the two others."""
    texts = (task.description, f"{task.completed}/{task.total}", task.fields["status"])
    return console.width - sum(cell_len(text) + 1 for text in texts) - 1


class _BarWhereThereIsRoom(BarColumn):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> "ProgressBar | Text":  # type: ignore[override]
        room = _room(self.console, task) - _TIME_WIDTH - 1
        if room < _SMALLEST_BAR:
            return Text("")
        bar = super().render(task)
        bar.width = min(room, self.bar_width or room)
        return bar


class _TimeWhereThereIsRoom(TimeRemainingColumn):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> Text:
        return super().render(task) if _room(self.console, task) >= _TIME_WIDTH else Text("")
