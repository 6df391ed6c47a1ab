"""Columns by name, in whatever kind of table."""

from collections.abc import Sequence

from mrkd.errors import UserError


def find_column(columns: Sequence[str], asked: str | None, usual: Sequence[str]) -> str | None:
    """The column that was asked for, or else the first of the usual names; None when it is missing."""
    return next((name for name in (usual if asked is None else [asked]) if name in columns), None)


def no_column(source: str, columns: Sequence[str], kind: str, wanted: str) -> UserError:
    """What to say when a column is missing."""
    return UserError(
        f"{source} has no {kind} column {wanted!r}; its columns are {', '.join(columns)}: set data.{kind}_column"
    )
