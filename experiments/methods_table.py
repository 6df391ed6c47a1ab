"""Write the facts of every method, and what it measured, into docs/methods.md between its two markers.

    python experiments/methods_table.py

Facts come from `mrkd.objective.methods`, equations from `tables.equations`, and figures from docs/results/family.json
(a `table.json` of `mrkd compare`).
"""

import json
import re
from pathlib import Path
from typing import Any

from tables.equations import EQUATIONS

from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.objective.methods import METHODS, Method
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


def _equation(name: str) -> list[str]:
    equation = EQUATIONS[name]
    where = [equation.where, ""] if equation.where else []
    return ["$$", equation.latex, "$$", "", *where]


def _facts(method: Method) -> list[str]:
    facts = [
        ("Invariant to", "nothing" if method.invariant_to == "-" else method.invariant_to),
        ("Collapses to", method.collapses_to),
        ("Cost", f"${_power(method.cost)}$" if re.fullmatch(r"[A-Z0-9 ^+()]+", method.cost) else method.cost),
        ("Source", re.sub(r"arXiv:([0-9.]+[0-9])", r"[arXiv:\1](https://arxiv.org/abs/\1)", method.source)),
    ]
    return [*(f"- {name}: {fact}." for name, fact in facts), ""]


def _power(cost: str) -> str:
    """`N^2 D` in LaTeX, with thin spaces between factors."""
    return re.sub(r"(?<=[\w)]) (?=[\w(])", r"\\,", cost)


def page(rows: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, method in METHODS.items():
        lines += [f"### `{name}`", "", _sentence(method.summary), ""]
        if method.terms:
            lines += [*_equation(name), *_facts(method)]
        measured = [
            f"{label}: {figures(rows[table_name])}"
            for label, table_name in (("alone", name), ("with `ibot`", f"ibot+{name}"))
            if table_name in rows
        ]
        if measured:
            lines += [f"Digits, {'; '.join(measured)}.", ""]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The text of docs/methods.md with its generated part made anew."""
    table = json.loads((DOCS / "results" / "family.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in table["rows"]}
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{page(rows)}\n{END}{after}"


def main() -> None:
    path = DOCS / "methods.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
