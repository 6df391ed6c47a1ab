"""Columns by name, in whatever kind of table, and what a cell of an image column holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrkd.config import DataConfig
from mrkd.data.sources.labels import USUAL_LABELS
from mrkd.errors import UserError

USUAL_IMAGES = ("img", "image")
"""Columns that hold images in parquet files and on the hub, where nobody says which one does."""


def image_and_label_columns(
    source: str, columns: Sequence[str], config: DataConfig, usual_images: Sequence[str] = USUAL_IMAGES
) -> tuple[str, str | None]:
    """The columns that the config asks for, or else the first of the usual names; the label's is None without any.

    Raises:
        UserError: there is no image column, or not the one that was asked for, or no such label column.
    """
    image = _find(columns, config.image_column, usual_images)
    if image is None:
        raise _no_column(source, columns, "image", config.image_column or usual_images[0])
    label = _find(columns, config.label_column, USUAL_LABELS)
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


def _find(columns: Sequence[str], asked: str | None, usual: Sequence[str]) -> str | None:
    return next((name for name in (usual if asked is None else [asked]) if name in columns), None)


def _no_column(source: str, columns: Sequence[str], kind: str, wanted: str) -> UserError:
    return UserError(
        f"{source} has no {kind} column {wanted!r}; its columns are {', '.join(columns)}: set data.{kind}_column"
    )
