"""The rows of `metrics.jsonl` as columns. Axes: n logged rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def metric_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Numbers by name, each column with n entries; text, such as the verdict, is left out.

    Args:
        rows: n logged rows.
    Returns:
        `step` (n,) int64; all others (n,) float64, NaN where a number was not logged. The value of a loss term is
        called `terms/NAME`, as it is in TensorBoard.
    """
    flat = [dict(_numbers(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    columns = {name: np.array([row.get(name, np.nan) for row in flat], dtype=np.float64) for name in names}
    return {**columns, "step": np.array([row["step"] for row in rows], dtype=np.int64)}


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if name == "terms" and isinstance(value, Mapping):
            yield from ((f"terms/{term}", number) for term, number in _numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
