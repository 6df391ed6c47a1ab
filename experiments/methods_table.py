"""Write the facts of every method, and what it measured, into docs/methods.md between its two markers.

    python experiments/methods_table.py

Facts come from `mrkd.objective.methods`, figures from docs/results/family.json (a `table.json` of `mrkd compare`).
"""

import json
from pathlib import Path
from typing import Any

from mrkd.objective.methods import METHODS

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- methods: begin -->", "<!-- methods: end -->"


def cell(row: dict[str, Any] | None, key: str) -> str:
    if row is None or key not in row:
        return "–"
    value = row[key]
    return f"{value['mean']:.1f}" + ("" if value["std"] is None else f" ± {value['std']:.1f}")


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
                f"Ignores: {method.ignores}. Collapses to: {method.collapses_to}. Cost: {method.cost}.",
                f"Source: {method.source}.",
                "",
            ]
        figures = [
            f"{label} {cell(rows[measured], 'knn')} %, linear {cell(rows[measured], 'linear_100_acc1')} %, "
            f"RankMe {cell(rows[measured], 'rankme')}"
            for label, measured in (("alone: k-NN", name), ("with `ibot`: k-NN", f"ibot+{name}"))
            if measured in rows
        ]
        if figures:
            lines += [f"Digits, {'; '.join(figures)}.", ""]
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
