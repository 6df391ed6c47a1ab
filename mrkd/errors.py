"""The exceptions shown to users as a single line: the input was wrong, or a signal asked the work to stop."""

import difflib
import signal
import sys
from collections.abc import Iterable, Sequence

LISTED = 24
"""At most so many valid names are listed where nothing is close."""
OFFERED = 3
"""At most so many close ones are offered."""


class UserError(ValueError):
    """Bad input. The message states what was expected, what was given and what to do. The exit status is 2."""


class Interrupted(KeyboardInterrupt):
    """The work was stopped by a signal, after its state was saved. The exit status is 128 + the signal's number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number

    @classmethod
    def by(cls, received: signal.Signals, message: str) -> "Interrupted":
        """`SIGTERM: message`."""
        return cls(f"{received.name}: {message}", received.value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """`did you mean 'X'?` for the closest valid name, or a list of them, not too long, when nothing is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return did_you_mean(close)
    more = f", … ({len(names)} in all)" if len(names) > LISTED else ""
    return f"valid: {', '.join(names[:LISTED])}{more}"


def did_you_mean(names: Sequence[str]) -> str:
    """`did you mean 'X' or 'Y'?` for one or more names; at most the first three are shown."""
    *others, last = (repr(name) for name in names[:OFFERED])
    return f"did you mean {', '.join(others)}{' or ' * bool(others)}{last}?"


def check_platform() -> None:
    """Refuse Windows, which lacks the file locks that run directories need.

    Raises:
        UserError: this is Windows.
    """
    if sys.platform == "win32":
        raise UserError("mrkd runs on Linux and macOS, got Windows: use WSL, or `mrkd.losses` alone")
