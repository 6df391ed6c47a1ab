"""SIGTERM and SIGINT as requests: the first is remembered until the work can stop, the second ends the process.

Where there is nothing to put down, SIGTERM ends the work as Ctrl-C does: by an exception.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from mrkd.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Have SIGTERM raise `Interrupted`, so that files and locks are let go of and one line is printed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted.by(signal.Signals(number), "stopped")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def hangup_ignored() -> Iterator[None]:
    """Have the work go on when its terminal is closed; processes that it starts inherit this.

    Not below torchrun, which ends at SIGHUP: it passes the signal on, and kills whoever has not ended after 30 s.
    """
    if threading.current_thread() is not threading.main_thread() or _below_torchrun():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _below_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


class StopRequest:
    """Use as a context manager; ask `received` wherever the work can be put down.

    Args:
        pass_on: called with the signal's number instead of ending at the second one, for work in a child process.
    """

    def __init__(self, pass_on: Callable[[int], None] | None = None) -> None:
        self.received: signal.Signals | None = None
        self._pass_on = pass_on
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread install handlers; elsewhere signals keep the meaning they have.
        if threading.current_thread() is threading.main_thread():
            numbers = (*SIGNALS, signal.SIGHUP) if _below_torchrun() else SIGNALS
            self._previous = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._pass_on is not None:
            self.received = signal.Signals(number)
            self._pass_on(number)
        elif self.received is not None:
            os._exit(128 + number)
        self.received = signal.Signals(number)
