"""Differences between methods over common seeds, and which method is told apart from the others by them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from mrkd.reporting.table import is_learnt

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean difference of two methods over the seeds that both have."""

    mean: float
    interval: tuple[float, float] | None
    """95 % interval of Student's t for paired values; None with one seed."""
    seeds: int

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.mean:+.1f}"
        return f"{self.mean:+.1f} ({self.interval[0]:+.1f} to {self.interval[1]:+.1f})"


def paired_difference(row: Mapping[str, Any], other: Mapping[str, Any], key: str = "knn") -> Difference | None:
    """The difference row − other in the column `key` of a comparison's table; None without a common seed.

    Raises:
        KeyError: one of the rows does not have this column.
    """
    own, theirs = _by_seed(row, key), _by_seed(other, key)
    pairs = [value - theirs[seed] for seed, value in own.items() if seed in theirs]
    if not pairs:
        return None
    mean = fmean(pairs)
    if len(pairs) == 1:
        return Difference(mean=mean, interval=None, seeds=1)
    from scipy.special import stdtrit

    half = float(stdtrit(len(pairs) - 1, (1 + CONFIDENCE) / 2)) * stdev(pairs) / len(pairs) ** 0.5
    return Difference(mean=mean, interval=(mean - half, mean + half), seeds=len(pairs))


def _by_seed(row: Mapping[str, Any], key: str) -> dict[int, float]:
    cell = row[key]
    seeds = cell.get("seeds", row["seeds"])
    # Raw pixels and a frozen teacher have a value, but no seed.
    return dict(zip(seeds, cell["values"], strict=True)) if seeds else {}


def ranked(rows: Sequence[Mapping[str, Any]], key: str, *, higher_is_better: bool = True) -> list[Mapping[str, Any]]:
    """The methods trained here that have this column, the best mean first."""
    measured = [row for row in rows if key in row and is_learnt(row)]
    return sorted(measured, key=lambda row: float(row[key]["mean"]), reverse=higher_is_better)


def told_apart(rows: Sequence[Mapping[str, Any]], key: str, *, higher_is_better: bool = True) -> str | None:
    """The best method of a column if its interval of the difference to every other trained method excludes zero."""
    order = ranked(rows, key, higher_is_better=higher_is_better)
    if len(order) < 2:
        return None
    best, *others = order
    differences = [paired_difference(best, other, key) for other in others]
    clear = all(difference is not None and difference.clear for difference in differences)
    return str(best["method"]) if clear else None
