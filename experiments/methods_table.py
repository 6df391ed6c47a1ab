"""Write the facts of every method, and what it measured, into docs/methods.md between its two markers.

    python experiments/methods_table.py

Facts come from `mrkd.objective.methods`, figures from docs/results/family.json (a `table.json` of `mrkd compare`).
"""

import json
from pathlib import Path
from typing import Any

from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.objective.methods import METHODS
from mrkd.reporting.columns import COLUMNS
from mrkd.reporting.table import format_cell

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- methods: begin -->", "<!-- methods: end -->"


FIGURES = ("knn", "linear_100_acc1", "rankme")
TITLES = {column.key: evaluator.title for evaluator in EVALUATORS for column in evaluator.columns}


def figures(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{TITLES[key]} {format_cell(row.get(key))}{' %' if COLUMNS[key].unit == '%' else ''}" for key in FIGURES
    )


def _sentence(summary: str) -> str:
    # A name such as iBOT keeps its small letter.
    return (summary if summary[1].isupper() else summary[0].upper() + summary[1:]) + "."


def page(rows: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, method in METHODS.items():
        lines += [f"### `{name}`", "", _sentence(method.summary), ""]
        if method.terms:
            lines += [
                f"    {method.equation}",
                "",
                f"Invariant to: {method.invariant_to}. Collapses to: {method.collapses_to}. Cost: {method.cost}.",
                f"Source: {method.source}.",
                "",
            ]
        measured = [
            f"{label}: {figures(rows[table_name])}"
            for label, table_name in (("alone", name), ("with `ibot`", f"ibot+{name}"))
            if table_name in rows
        ]
        if measured:
            lines += [f"Digits, {'; '.join(measured)}.", ""]
    return "\n".join(lines)


def main() -> None:
    table = json.loads((DOCS / "results" / "family.json").read_text())
    rows = {row["method"]: row for row in table["rows"]}
    path = DOCS / "methods.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{page(rows)}\n{END}{after}")


if __name__ == "__main__":
    main()
