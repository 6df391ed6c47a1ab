"""Images in tables: parquet files, read through Hugging Face `datasets`, row by row as they are asked for."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mrkd.config import DataConfig
from mrkd.data.listing import Cell, Listing
from mrkd.data.splitting import split_of
from mrkd.errors import UserError

MAX_CLASSES = 1_000_000
"""More are taken for a mistake, such as identifiers in the label column."""


class TableCells:
    """The image column of a `datasets.Dataset`; the rows stay on the disk until they are asked for."""

    def __init__(self, table: Any, column: str, inside: Path, rows: Sequence[int] | None = None) -> None:
        self.table, self.column, self.inside = table, column, inside
        self.rows = range(len(table)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Cell:
        return _cell(self.table[self.rows[row]][self.column], self.inside)

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The cells of several rows, in one read."""
        found = self.table[[self.rows[row] for row in rows]][self.column]
        return [_cell(cell, self.inside) for cell in found]

    def take(self, rows: Sequence[int]) -> "TableCells":
        """The same table with other rows."""
        return TableCells(self.table, self.column, self.inside, [self.rows[row] for row in rows])


def list_parquet(files: list[Path], root: Path, config: DataConfig) -> dict[str, Listing]:
    """The images of parquet files, by the split that their names below `root` say.

    Raises:
        UserError: a file is no parquet, or lacks a column.
    """
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(split_of(*file.relative_to(root).with_suffix("").parts), []).append(str(file))
    listings = {}
    for split, paths in by_split.items():
        try:
            table = load_dataset("parquet", data_files=paths, split="train")
        except Exception as error:  # pyarrow's own kinds, and whatever else a damaged file makes it raise
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"cannot read {', '.join(paths)} as parquet: {reason[:300]}") from None
        names = [f"{Path(paths[0]).name} row {row}" for row in range(len(table))]
        listings[split] = list_table(table, paths[0], names, Path(paths[0]).resolve().parent, config)
    return listings


def list_table(table: Any, source: str, names: list[str], inside: Path, config: DataConfig) -> Listing:
    """The images of a `datasets.Dataset`.

    Args:
        table: the dataset.
        source: what a person calls it.
        names: one per row.
        inside: cells that are paths must not lead out of this folder.
        config: the names of the columns.
    Raises:
        UserError: a column is missing or holds something else.
    """
    from datasets import ClassLabel, Image

    columns: list[str] = table.column_names
    image = find_column(columns, config.image_column, ("img", "image"))
    if image is None:
        raise no_column(source, columns, "image", config.image_column or "img")
    label = find_column(columns, config.label_column, ("label", "labels", "fine_label"))
    if label is None and config.label_column is not None:
        raise no_column(source, columns, "label", config.label_column)
    labels: list[int] | None = None
    class_names: tuple[str, ...] = ()
    if label is not None:
        feature = table.features[label]
        labels, class_names = _labels(
            table[label], label, source, feature.names if isinstance(feature, ClassLabel) else None
        )
    try:
        images = table.select_columns([image]).cast_column(image, Image(decode=False))
    except Exception as error:  # as above
        raise UserError(f"{source}: column {image!r} must hold images, got {type(error).__name__}") from None
    return Listing(names=names, cells=TableCells(images, image, inside), labels=labels, class_names=class_names)


def _labels(
    values: Iterable[Any], column: str, source: str, names: list[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    labels = []
    limit = MAX_CLASSES if names is None else len(names)
    for row, value in enumerate(values):
        if not isinstance(value, int | float) or value != value // 1 or not 0 <= value < limit:
            raise UserError(
                f"{source}: column {column!r} must hold whole numbers in [0, {limit}), got {value!r} in row {row}"
            )
        labels.append(int(value))
    return labels, tuple(map(str, range(max(labels, default=-1) + 1)) if names is None else names)


def _cell(cell: Any, inside: Path) -> bytes | Path | None:
    """The embedded image; or a path, which must not lead out of the table's own folder."""
    if not isinstance(cell, dict) or cell.get("bytes"):
        return cell["bytes"] if isinstance(cell, dict) else None
    path = (inside / str(cell.get("path") or "")).resolve()
    return path if path.is_relative_to(inside) else None


def find_column(columns: Sequence[str], asked: str | None, usual: Sequence[str]) -> str | None:
    """The column that was asked for, or else the first of the usual names; None when it is missing."""
    return next((name for name in (usual if asked is None else [asked]) if name in columns), None)


def no_column(source: str, columns: Sequence[str], kind: str, wanted: str) -> UserError:
    """What to say when a column is missing."""
    return UserError(
        f"{source} has no {kind} column {wanted!r}; its columns are {', '.join(columns)}: set data.{kind}_column"
    )
