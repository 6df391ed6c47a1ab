"""Images named in a CSV or TSV file: one path a line, with or without labels."""

import csv
import io
from collections import Counter
from pathlib import Path

from mrkd.config import DataConfig
from mrkd.data.listing import KeptCells
from mrkd.data.sources.columns import find_column, image_and_label_columns, unread_columns, without_label
from mrkd.data.sources.labels import Found, numbers_of
from mrkd.data.sources.splits import SPLIT_COLUMNS, rows_by_split
from mrkd.data.sources.text import clean, listed, printable, shortened
from mrkd.errors import UserError

USUAL_PATHS = ("image", "img", "path", "file", "filename", "file_name", "filepath", "image_path")
DELIMITERS = (",", "\t", ";", "|")
"""Tried in this order, the tab first for a `.tsv`: the first that finds a column of paths is taken."""
Rows = list[list[str]]


def find_in_csv(path: Path, config: DataConfig) -> dict[str, Found]:
    """The images that a CSV or TSV with a line of column names lists.

    Names of columns and values are taken without spaces around them. A column `split` (or `set`, `subset`, `partition`)
    says train, test, validation or unlabeled.

    Raises:
        UserError: it cannot be read, is empty, lacks a column, names no split, or a path leads out of its folder
            without `data.outside_paths`.
    """
    columns, rows = _read(path, config)
    image, label = image_and_label_columns(path.name, columns, config, USUAL_PATHS)
    split = find_column(path.name, columns, SPLIT_COLUMNS)
    if not rows:
        raise UserError(f"{path.name} names no image: expected one line per image below the line of column names")
    paths = [row[columns.index(image)] for row in rows]
    texts = [] if label is None else [row[columns.index(label)] for row in rows]
    _refuse_zero_bytes(path, label, texts)
    labels = numbers_of(texts)
    by_split = {"train": [*range(len(rows))]}
    if split is not None:
        by_split = rows_by_split([row[columns.index(split)] for row in rows], f"{path.name}: column {split!r}")
    notes = (*unread_columns(path.name, columns, (image, label, split), config), *_repeated(path, paths, texts))
    return {
        name: Found(
            names=[paths[row] for row in chosen],
            cells=KeptCells(_inside(path, row, paths[row], config.outside_paths) for row in chosen),
            values=None if label is None else [labels[row] for row in chosen],
            column=f"{path.name}: column {label!r}",
            why_unlabelled=without_label(columns) if label is None else "",
            notes=notes if name == next(iter(by_split)) else (),
        )
        for name, chosen in by_split.items()
    }


def _refuse_zero_bytes(path: Path, label: str | None, texts: list[str]) -> None:
    """In a label they are damage, or another encoding, and would make a class of their own."""
    for row, text in enumerate(texts):
        if "\0" in text:
            raise UserError(
                f"{path.name}: column {label!r} must be text, got {shortened(text)} in row {row}, with a zero byte: "
                "restore the file, or save it as UTF-8"
            )


def _repeated(path: Path, paths: list[str], texts: list[str]) -> tuple[str, ...]:
    """A warning about images that several rows name."""
    again = [name for name, count in Counter(paths).items() if count > 1]
    if not again:
        return ()
    apart = Counter(name for name, _ in set(zip(paths, texts, strict=False)))
    differing = sum(count > 1 for count in apart.values())
    told = f"{len(again):,} images are in several rows, {differing:,} with several labels"
    return (f"{path.name}: {told}: {printable(listed(again))}",)


def _read(path: Path, config: DataConfig) -> tuple[list[str], Rows]:
    """The names of the columns and the rows, all of them as long as the names."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        lines = _parsed(text, _delimiter(text, path, config))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path.name} as CSV in UTF-8: {error}; save it as UTF-8 if it is not") from None
    if not lines:
        raise UserError(f"{path.name} is empty: expected a line of column names, then one line per image")
    columns = [clean(name) for name in lines[0]]
    return columns, [_fitted(path, number, row, len(columns)) for number, row in enumerate(lines[1:])]


def _fitted(path: Path, number: int, row: list[str], length: int) -> list[str]:
    if any(cell.strip() for cell in row[length:]):
        raise UserError(
            f"{path.name} row {number} must have {length} cells, got {len(row)}: put text with a delimiter in quotes"
        )
    return [cell.strip() for cell in row[:length]] + [""] * (length - len(row))


def _delimiter(text: str, path: Path, config: DataConfig) -> str:
    first = DELIMITERS[1] if path.suffix.lower() == ".tsv" else DELIMITERS[0]
    wanted = [config.image_column] if config.image_column else USUAL_PATHS
    for delimiter in (first, *DELIMITERS):
        header = _parsed(text.partition("\n")[0], delimiter, strict=False)
        if header and find_column(path.name, header[0], wanted) is not None:
            return delimiter
    return first


def _parsed(text: str, delimiter: str, strict: bool = True) -> Rows:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict, skipinitialspace=True)
    return [row for row in lines if row]


def _inside(csv_path: Path, row: int, text: str, outside: bool) -> Path | None:
    """The path in a row; None, an unreadable image, when no file can have that name: with a zero byte, or too long."""
    folder = csv_path.parent.resolve()
    target = folder / text
    try:
        inside = target.resolve().is_relative_to(folder)
    except (ValueError, OSError):
        return None
    if not outside and not inside:
        raise UserError(
            f"{csv_path.name} row {row}: {shortened(text)} leads out of the folder of the CSV: "
            "set data.outside_paths true if you trust it"
        )
    return target
