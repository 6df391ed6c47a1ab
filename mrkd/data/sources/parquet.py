"""Images in parquet files on the disk, read in place with pyarrow."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mrkd.config import DataConfig
from mrkd.data.sources.columns import find_column, image_and_label_columns, unread_columns, without_label
from mrkd.data.sources.labels import Found, same_names
from mrkd.data.sources.row_groups import ParquetCells, RowGroup
from mrkd.data.sources.splits import SPLIT_COLUMNS, notes_on_names, rows_by_split, told_by_names
from mrkd.data.sources.text import listed
from mrkd.errors import UserError


def find_in_parquet(files: list[Path], root: Path, config: DataConfig) -> dict[str, Found]:
    """The images of parquet files, by the split that their names below `root` say; files without rows are left out.

    Raises:
        UserError: a file is no parquet, lacks a column, or has no images in it.
    """
    by_split = told_by_names(files, root)
    tables = {split: [_Table(path, config) for path in paths] for split, paths in by_split.items()}
    found = {split: _found(own, config) for split, several in tables.items() if (own := _with_rows(several))}
    if set(found) == {"train"}:
        found = _by_column(found["train"], _with_rows(tables["train"]))
    notes = list(notes_on_names(by_split, root))
    empty = [table.path.name for several in tables.values() for table in several if not table.rows]
    if empty:
        notes.append(f"{len(empty)} of {len(files)} parquet files have no rows ({listed(empty)})")
    if found:
        first = next(iter(found))
        notes += next(_with_rows(several)[0].unread(config) for several in tables.values() if _with_rows(several))
        found[first] = dataclasses.replace(found[first], notes=tuple(notes))
    return found


def _with_rows(tables: list["_Table"]) -> list["_Table"]:
    return [table for table in tables if table.rows]


def _by_column(found: Found, tables: list["_Table"]) -> dict[str, Found]:
    """The splits that a column names, where the names of the files say none."""
    names = {find_column(str(table.path), table.schema.names, SPLIT_COLUMNS) for table in tables}
    column = names.pop() if len(names) == 1 else None
    if column is None:
        return {"train": found}
    said = [value for table in tables for value in table.values(column)]
    values = None if found.values is None else list(found.values)
    return {
        split: dataclasses.replace(
            found,
            names=[found.names[row] for row in rows],
            cells=found.cells.take(rows),
            values=None if values is None else [values[row] for row in rows],
        )
        for split, rows in rows_by_split(said, f"{tables[0].path}: column {column!r}").items()
    }


def _found(tables: list["_Table"], config: DataConfig) -> Found:
    first = tables[0]
    for table in tables:
        if (table.image, table.label) != (first.image, first.label):
            raise UserError(
                f"{table.path} must have the columns {first.image!r} and {first.label!r} of {first.path.name}, "
                f"got {table.image!r} and {table.label!r}: set data.image_column and data.label_column"
            )
    with_labels = config.use_labels and first.label is not None
    return Found(
        names=[f"{table.path.name} row {row}" for table in tables for row in range(table.rows)],
        cells=ParquetCells([group for table in tables for group in table.groups()], first.image),
        values=[value for table in tables for value in table.values(first.label)] if with_labels else None,
        class_names=same_names((f"{table.path}: column {first.label!r}", table.class_names()) for table in tables),
        column=f"{first.path}: column {first.label!r}",
        why_unlabelled=without_label(first.schema.names) if first.label is None else "",
    )


class _Table:
    """What the footer of one file says."""

    def __init__(self, path: Path, config: DataConfig) -> None:
        from pyarrow.parquet import ParquetFile

        self.path = path
        try:
            with ParquetFile(path) as file:
                self.metadata, self.schema = file.metadata, file.schema_arrow
        except Exception as error:  # pyarrow's own kinds, and whatever else a damaged file makes it raise
            raise _unreadable(path, error) from None
        self.rows = sum(self.metadata.row_group(number).num_rows for number in range(self.metadata.num_row_groups))
        if self.rows:
            self.image, self.label = image_and_label_columns(str(path), self.schema.names, config)
            self._check_image_column()

    def _check_image_column(self) -> None:
        from pyarrow import types

        kind = self.schema.field(self.image).type
        names = {field.name for field in kind} if types.is_struct(kind) else set()
        plain = types.is_binary(kind) or types.is_large_binary(kind) or types.is_string(kind)
        if not plain and not names & {"bytes", "path"}:
            raise UserError(f"{self.path}: column {self.image!r} must hold images, got {kind}")

    def groups(self) -> list[RowGroup]:
        """The row groups, with the size of their images."""
        return [self._group(number) for number in range(self.metadata.num_row_groups)]

    def _group(self, number: int) -> RowGroup:
        group = self.metadata.row_group(number)
        chunks = [group.column(index) for index in range(group.num_columns)]
        size = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema == self.image or chunk.path_in_schema.startswith(f"{self.image}.")
        )
        return RowGroup(self.path, number, group.num_rows, size)

    def values(self, column: str | None) -> list[Any]:
        """The values of a column, one a row."""
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(self.path) as file:
                values: list[Any] = file.read(columns=[column], use_threads=False)[column].to_pylist()
        except Exception as error:  # as above
            raise _unreadable(self.path, error) from None
        if len(values) != self.rows:
            raise UserError(f"{self.path}: column {column!r} must have {self.rows} rows, got {len(values)}")
        return values

    def unread(self, config: DataConfig) -> list[str]:
        """A line about columns that are not read."""
        split = find_column(str(self.path), self.schema.names, SPLIT_COLUMNS)
        return unread_columns(self.path.name, self.schema.names, (self.image, self.label, split), config)

    def class_names(self) -> list[str] | None:
        """What the label's numbers stand for, where the hub's libraries have written it into the footer."""
        about: Any = (self.schema.metadata or {}).get(b"huggingface")
        try:
            about = None if about is None else json.loads(about)
        except ValueError as error:
            raise _unreadable(self.path, error) from None
        for key in ("info", "features", self.label, "names"):
            about = about.get(key) if isinstance(about, dict) else None
        return about if isinstance(about, list) and all(isinstance(name, str) for name in about) else None


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"cannot read {path} as parquet: {reason[:300]}")
