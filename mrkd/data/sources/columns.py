"""Columns by name, in whatever kind of table, and what a cell of an image column holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrkd.config import DataConfig
from mrkd.data.sources.labels import USUAL_LABELS
from mrkd.data.sources.text import clean, listed, printable
from mrkd.errors import UserError

USUAL_IMAGES = ("img", "image")
"""Columns that hold images in parquet files and on the hub, where nobody says which one does."""


def image_and_label_columns(
    source: str, columns: Sequence[str], config: DataConfig, usual_images: Sequence[str] = USUAL_IMAGES
) -> tuple[str, str | None]:
    """The columns that the config asks for, or else the first of the usual names; the label's is None without any.

    Names are compared as they are, then without spaces around them and in lower case.

    Raises:
        UserError: there is no image column, or not the one that was asked for, or no such label column, or two.
    """
    image = find_column(source, columns, [config.image_column] if config.image_column else usual_images)
    if image is None:
        raise _no_column(source, columns, "image", config.image_column or usual_images[0])
    label = find_column(source, columns, [config.label_column] if config.label_column else USUAL_LABELS)
    if label is None and config.label_column is not None:
        raise _no_column(source, columns, "label", config.label_column)
    return image, label


def image_of(value: Any, inside: Path) -> bytes | Path | None:
    """An embedded image, plain or as `{bytes, path}`; or its path, which must not lead out of the folder `inside`."""
    if isinstance(value, dict) and value.get("bytes"):
        value = value["bytes"]
    if isinstance(value, bytes):
        return value
    try:
        path = (inside / str((value.get("path") if isinstance(value, dict) else value) or "")).resolve()
        return path if path.is_relative_to(inside) and path.is_file() else None
    except (ValueError, OSError):  # a name that no file can have: with a zero byte, or too long
        return None


def find_column(source: str, columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of the wanted columns that there is, as the table spells it.

    Raises:
        UserError: two columns have that name.
    """
    for name in wanted:
        for alike in ([column for column in columns if column == name], _alike(columns, name)):
            if len(alike) > 1:
                raise UserError(f"{source} has {len(alike)} columns {name!r}: rename all but one")
            if alike:
                return alike[0]
    return None


def unread_columns(source: str, columns: Sequence[str], read: Sequence[str | None], config: DataConfig) -> list[str]:
    """A line about columns that are not read, where nobody said which column holds the labels.

    Args:
        source: what a person calls the table.
        columns: all there are.
        read: those that are read; None for what there is no column for.
        config: the names of columns that somebody asked for.
    """
    unread = [printable(column) for column in columns if column not in read]
    if not unread or config.label_column is not None:
        return []
    used = ", ".join(repr(column) for column in read if column is not None)
    return [f"{source}: of its columns {used} are read, not {listed(unread, 5)}"]


def without_label(columns: Sequence[str]) -> str:
    """Why images are unlabelled when no column has a usual name."""
    known = ", ".join(USUAL_LABELS)
    shown = printable(", ".join(columns))
    return f"no column is called {known}; the columns are {shown}: set data.label_column"


def _alike(columns: Sequence[str], name: str) -> list[str]:
    return [column for column in columns if clean(column).casefold() == clean(name).casefold()]


def _no_column(source: str, columns: Sequence[str], kind: str, wanted: str) -> UserError:
    return UserError(
        f"{source} has no {kind} column {wanted!r}; its columns are {printable(', '.join(columns))}: "
        f"set data.{kind}_column"
    )
