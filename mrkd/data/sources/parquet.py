"""Images in tables: parquet files and data sets of the Hugging Face hub, read row by row as they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrkd.config import DataConfig
from mrkd.data.listing import Cell, stamp_of
from mrkd.data.sources.columns import find_column, no_column
from mrkd.data.sources.labels import USUAL_LABELS, Found
from mrkd.data.sources.splits import split_of
from mrkd.errors import UserError

USUAL_IMAGES = ("img", "image")


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

    def stamp(self) -> str | None:
        """Of the Arrow files that `datasets` made of the source (anew when that changes), and the rows."""
        files = [Path(file["filename"]) for file in self.table.cache_files]
        rows = np.asarray(self.rows, dtype=np.int64).tobytes()
        return stamp_of(files, self.column.encode() + rows) if files else None


def find_in_parquet(files: list[Path], root: Path, config: DataConfig) -> dict[str, Found]:
    """The images of parquet files, by the split that their names below `root` say.

    Raises:
        UserError: a file is no parquet, or lacks a column.
    """
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(*file.relative_to(root).with_suffix("").parts), []).append(file)
    found = {}
    for split, paths in by_split.items():
        texts = [str(path) for path in paths]
        try:
            table = load_dataset("parquet", data_files=texts, split="train")
            names = _row_names(paths)
        except Exception as error:  # pyarrow's own kinds, and whatever else a damaged file makes it raise
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"cannot read {', '.join(texts)} as parquet: {reason[:300]}") from None
        found[split] = _found(table, texts[0], names, paths[0].resolve().parent, config)
    return found


def _row_names(paths: list[Path]) -> list[str]:
    from pyarrow.parquet import read_metadata

    return [f"{path.name} row {row}" for path in paths for row in range(read_metadata(path).num_rows)]


def find_on_hub(name: str, config: DataConfig) -> dict[str, Found]:
    """The images of a data set on the Hugging Face hub, downloaded at its first use.

    Args:
        name: `owner/name`, or `owner/name:configuration`.
        config: the names of the columns.
    Raises:
        UserError: the hub cannot be reached, has no such data set, or that one has no such columns.
    """
    import datasets

    repository, _, configuration = name.partition(":")
    try:
        tables = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # requests', the hub's and the builders' own kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot get {name!r} from the Hugging Face hub: {type(error).__name__}: {reason}") from None
    # Cells that are paths lie in the cache of what was downloaded, and nowhere else.
    inside = Path(datasets.config.HF_CACHE_HOME).resolve()
    found: dict[str, Found] = {}
    for split, table in tables.items():
        names = [f"{split} row {row}" for row in range(len(table))]
        found.setdefault(split_of(split), _found(table, f"{name}, {split}", names, inside, config))
    return found


def _found(table: Any, source: str, names: list[str], inside: Path, config: DataConfig) -> Found:
    from datasets import ClassLabel, Image

    columns: list[str] = table.column_names
    image = find_column(columns, config.image_column, USUAL_IMAGES)
    if image is None:
        raise no_column(source, columns, "image", config.image_column or USUAL_IMAGES[0])
    label = find_column(columns, config.label_column, USUAL_LABELS)
    if label is None and config.label_column is not None:
        raise no_column(source, columns, "label", config.label_column)
    try:
        images = table.select_columns([image]).cast_column(image, Image(decode=False))
    except Exception as error:  # as above
        raise UserError(f"{source}: column {image!r} must hold images, got {type(error).__name__}") from None
    feature = None if label is None else table.features[label]
    return Found(
        names=names,
        cells=TableCells(images, image, inside),
        values=None if label is None else table[label],
        class_names=feature.names if isinstance(feature, ClassLabel) else None,
        column=f"{source}: column {label!r}",
    )


def _cell(cell: Any, inside: Path) -> bytes | Path | None:
    """The embedded image; or a path, which must not lead out of the table's own folder."""
    if not isinstance(cell, dict) or cell.get("bytes"):
        return cell["bytes"] if isinstance(cell, dict) else None
    path = (inside / str(cell.get("path") or "")).resolve()
    return path if path.is_relative_to(inside) else None
