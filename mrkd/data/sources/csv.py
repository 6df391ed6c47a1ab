"""Images named in a CSV or TSV file: one path a line, with or without labels."""

import csv
from pathlib import Path

from mrkd.config import DataConfig
from mrkd.data.listing import KeptCells
from mrkd.data.sources.columns import image_and_label_columns
from mrkd.data.sources.labels import Found, integers
from mrkd.data.sources.splits import split_of
from mrkd.errors import UserError

USUAL_PATHS = ("image", "img", "path", "file", "filename", "file_name", "filepath", "image_path")


def find_in_csv(path: Path, config: DataConfig) -> dict[str, Found]:
    """The images that a CSV or TSV with a line of column names lists.

    A column `split` may say train, test or validation.

    Raises:
        UserError: it cannot be read, lacks a column, or a path leads out of its folder without `data.outside_paths`.
    """
    columns, rows = _read(path)
    image, label = image_and_label_columns(path.name, columns, config, USUAL_PATHS)
    values = None if label is None else integers([row[label] for row in rows])
    by_split: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_split.setdefault(split_of(row.get("split", "train")), []).append(number)
    return {
        split: Found(
            names=[rows[number][image] for number in numbers],
            cells=KeptCells(_inside(path, number, rows[number][image], config.outside_paths) for number in numbers),
            values=None if values is None else [values[number] for number in numbers],
            column=f"{path.name}: column {label!r}",
        )
        for split, numbers in by_split.items()
    }


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(
                file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", restkey="", restval="", strict=True
            )
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path.name} as CSV in UTF-8: {error}") from None
    return columns, rows


def _inside(csv_path: Path, row: int, text: str, outside: bool) -> Path:
    folder = csv_path.parent.resolve()
    target = folder / text
    if not outside and not target.resolve().is_relative_to(folder):
        raise UserError(
            f"{csv_path.name} row {row}: {text!r} leads out of the folder of the CSV: "
            "set data.outside_paths true if you trust it"
        )
    return target
