"""The exceptions shown to users as a single line: the input was wrong, or somebody asked the work to stop."""

import difflib
import signal
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: says what was expected, what came and what to do. The command line exits with status 2."""


class Interrupted(KeyboardInterrupt):
    """The work was put down in good order after a signal. The command line exits with status 128 + its number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number

    @classmethod
    def by(cls, received: signal.Signals, message: str) -> "Interrupted":
        """`SIGTERM: message`."""
        return cls(f"{received.name}: {message}", received.value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for the closest valid name, or the list of them when nothing is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"
