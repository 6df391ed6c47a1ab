"""Data sets of the Hugging Face hub, downloaded by its library `datasets` at their first use."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrkd.config import DataConfig
from mrkd.data.listing import Cell, stamp_of
from mrkd.data.sources.columns import image_and_label_columns, image_of, unread_columns, without_label
from mrkd.data.sources.joining import joined
from mrkd.data.sources.labels import Found
from mrkd.data.sources.splits import read_as_one, split_of
from mrkd.errors import UserError


class TableCells:
    """The image column of a `datasets.Dataset`; the rows stay on the disk until they are asked for."""

    def __init__(self, table: Any, column: str, inside: Path, rows: Sequence[int] | None = None) -> None:
        self.table, self.column, self.inside = table, column, inside
        self.rows = range(len(table)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Cell:
        return image_of(self.table[self.rows[row]][self.column], self.inside)

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The cells of several rows, in one read."""
        found = self.table[[self.rows[row] for row in rows]][self.column]
        return [image_of(cell, self.inside) for cell in found]

    def take(self, rows: Sequence[int]) -> "TableCells":
        """The same table with other rows."""
        return TableCells(self.table, self.column, self.inside, [self.rows[row] for row in rows])

    def stamp(self, *, place: bool = True) -> str | None:
        """Of the Arrow files that `datasets` made of the download (anew when that changes), and the rows."""
        files = [Path(file["filename"]) for file in self.table.cache_files]
        rows = np.asarray(self.rows, dtype=np.int64).tobytes()
        return stamp_of(files, self.column.encode() + rows, place=place) if files else None


def find_on_hub(name: str, config: DataConfig) -> dict[str, Found]:
    """The images of a data set on the Hugging Face hub, downloaded at its first use.

    Args:
        name: `owner/name`, or `owner/name:configuration`, without `hub:`.
        config: the names of the columns.
    Raises:
        UserError: `datasets` is not installed, the hub cannot be reached or has no such data set, or that one has no
            such columns.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{name!r}, a data set of the Hugging Face hub, needs a package that is not installed: "
            'pip install "mrkd[hub]"'
        ) from None

    repository, _, configuration = name.partition(":")
    try:
        tables = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # requests', the hub's and the builders' own kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot get {name!r} from the Hugging Face hub: {type(error).__name__}: {reason}") from None
    # Cells that are paths lie in the cache of what was downloaded, and nowhere else.
    inside = Path(datasets.config.HF_CACHE_HOME).resolve()
    by_split: dict[str, list[str]] = {}
    for split in tables:
        by_split.setdefault(split_of(split), []).append(split)
    found = {
        split: joined([_found(tables[own], name, own, inside, config) for own in several])
        for split, several in by_split.items()
    }
    return {
        # What is said of the columns is said of one split: they are the same in all.
        split: dataclasses.replace(
            part, notes=(*(part.notes[:1] if number == 0 else ()), *read_as_one(split, by_split[split]))
        )
        for number, (split, part) in enumerate(found.items())
    }


def _found(table: Any, name: str, split: str, inside: Path, config: DataConfig) -> Found:
    from datasets import ClassLabel, Image

    source = f"{name}, {split}"
    image, label = image_and_label_columns(source, table.column_names, config)
    try:
        images = table.select_columns([image]).cast_column(image, Image(decode=False))
    except Exception as error:  # as above
        raise UserError(f"{source}: column {image!r} must hold images, got {type(error).__name__}") from None
    feature = None if label is None else table.features[label]
    return Found(
        notes=tuple(unread_columns(source, table.column_names, (image, label), config)),
        names=[f"{split} row {row}" for row in range(len(table))],
        cells=TableCells(images, image, inside),
        values=None if label is None else list(table[label]),
        class_names=feature.names if isinstance(feature, ClassLabel) else None,
        column=f"{source}: column {label!r}",
        why_unlabelled=without_label(table.column_names) if label is None else "",
    )
