"""A finished comparison in Python: its table, the differences between its methods, and its runs."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mrkd.api.directory import Directory
from mrkd.api.notebook import table_html
from mrkd.api.run import Run
from mrkd.errors import UserError, nearest
from mrkd.reporting.difference import Difference, paired_difference
from mrkd.reporting.read import find_runs, read_run
from mrkd.reporting.table import columns_of, format_cell
from mrkd.system.files import read_json

TABLE = "table.json"


class Comparison(Directory):
    """A comparison, by its directory; `mrkd.Comparison("runs/table")` opens one, `mrkd.compare` returns one.

    It can be used wherever the path of the directory can.

    Args:
        path: a directory written by `compare`.
    Raises:
        UserError: there is no finished comparison at this path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        if not (self.path / TABLE).is_file():
            raise UserError(f"no finished comparison at {self.path}: expected a directory written by mrkd.compare")

    @property
    def results(self) -> dict[str, Any]:
        """The content of `table.json`: `rows` with mean, std and the value of each seed; `data`, `conclusion`."""
        found = read_json(self.path / TABLE)
        if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
            raise UserError(f"{self.path / TABLE} must be a JSON object with rows: remove it, and compare again")
        return found

    @property
    def table(self) -> dict[str, np.ndarray]:
        """One entry for each method, by column, of which `pandas.DataFrame` makes a table.

        `method` holds names and `seeds` numbers of seeds. Each column of `table.json`, such as `knn`, is the mean over
        the seeds, float64, and NaN where it was not measured; `knn_std` is the sample standard deviation, NaN for one
        seed. Raw pixels, random weights and a frozen teacher have rows of their own.
        """
        rows = self.results["rows"]
        table = {"method": np.array([row["method"] for row in rows], dtype=np.str_)}
        table["seeds"] = np.array([len(row["seeds"]) for row in rows], dtype=np.int64)
        for key in (column.key for column in columns_of(rows)):
            for name, kind in ((key, "mean"), (f"{key}_std", "std")):
                table[name] = np.array([row.get(key, {}).get(kind) for row in rows], dtype=np.float64)
        return table

    @property
    def runs(self) -> list[Run]:
        """The runs in the table, by method in its order and by seed."""
        place = {
            (row["method"], seed): (number, seed)
            for number, row in enumerate(self.results["rows"])
            for seed in row["seeds"]
        }
        records = [read_run(path) for path in find_runs([self.path])]
        listed = [record for record in records if (record.method, record.seed) in place]
        return [Run(record.path) for record in sorted(listed, key=lambda record: place[record.method, record.seed])]

    @property
    def failures(self) -> dict[str, str]:
        """Name of a run that failed -> the reason; the same call of `mrkd.compare` tries it again."""
        return self.results.get("failures", {})

    def difference(self, method: str, other: str, column: str = "knn") -> Difference:
        """The mean of `method` minus `other` over the seeds that both have, with its 95 % interval.

        Args:
            method: a method of the table.
            other: another one.
            column: a column of `table`, in its unit: `knn` is in percent.
        Returns:
            Paired by seed; `interval` is None with one common seed.
        Raises:
            UserError: no such method or column, or no common seed.
        """
        rows = {row["method"]: row for row in self.results["rows"]}
        for name in (method, other):
            if name not in rows:
                raise UserError(f"the comparison has no method {name!r}: {nearest(name, rows)}")
            if column not in rows[name]:
                columns = [known.key for known in columns_of([rows[name]])]
                raise UserError(f"{name} has no column {column!r}: {nearest(column, columns)}")
        difference = paired_difference(rows[method], rows[other], column)
        if difference is None:
            raise UserError(f"{method} and {other} have no seed in common: a difference is paired by seed")
        return difference

    def report(self) -> Path:
        """Path of the HTML page about the comparison."""
        return self.path / "report.html"

    def __repr__(self) -> str:
        rows = self.results["rows"]
        return f"Comparison({str(self.path)!r}: {', '.join(row['method'] for row in rows)})"

    def _repr_html_(self) -> str:
        """The table with its conclusion, for notebooks."""
        results = self.results
        columns = columns_of(results["rows"])
        cells = [
            [row["method"], *(format_cell(row.get(column.key), column.decimals) for column in columns)]
            for row in results["rows"]
        ]
        heading = ["method", *(column.heading for column in columns)]
        return table_html(heading, cells, str(results.get("conclusion") or ""))
