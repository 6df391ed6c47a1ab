"""The one exception that means 'the input was wrong', shown to users as a single line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: says what was expected, what came and what to do. The command line exits with status 2."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for the closest valid name, or the list of them when nothing is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"
