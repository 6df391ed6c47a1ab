"""What tables are made from and of."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"


def read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def number(value: float) -> str:
    """Three digits or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def machine(record: dict[str, Any]) -> str:
    """With the rates of matrix products where they were measured."""
    rates, threads = record.get("matrix_gflops"), record["threads"]
    reached = ""
    if rates:
        reached = f"; a large matrix product reaches {rates['float32']} GFLOP/s in float32 and {rates['bfloat16']} in "
        reached += "bfloat16"
    device = f"Machine: {record['device']}, {threads} thread{'s' * (threads > 1)}{reached}"
    return f"{device}. torch {record['torch']}, commit {record['commit']}."
