"""The sentence that closes a comparison, in the terminal, in its files and on its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrkd.reporting.difference import paired_difference, ranked
from mrkd.reporting.table import REFERENCES


def conclusion(rows: Sequence[Mapping[str, Any]], key: str = "knn", name: str = "k-NN") -> str:
    """Who leads in one column, by how much, and whether the seeds tell the two best methods apart.

    Args:
        rows: of a comparison's table.
        key: a column in percent.
        name: of this column.
    Returns:
        One or two sentences; empty if no trained method has this column.
    """
    measured = [row for row in rows if key in row]
    trained = ranked(rows, key)
    if not trained:
        return ""
    best = trained[0]
    if len(trained) > 1:
        sentence = _against(best, trained[1], key, name)
    else:
        sentence = f"{best['method']} has {best[key]['mean']:.1f} % {name}."
    reference = max(
        (row for row in measured if row["method"] in REFERENCES), key=lambda row: float(row[key]["mean"]), default=None
    )
    if reference is None:
        return sentence
    gap = best[key]["mean"] - reference[key]["mean"]
    what = {"random": "random weights", "pixels": "raw pixels"}[reference["method"]]
    side = f"{gap:.1f} points above" if gap >= 0 else f"{-gap:.1f} points below"
    return f"{sentence} {best['method']} is {side} {what} ({reference[key]['mean']:.1f} %)."


def _against(best: Mapping[str, Any], second: Mapping[str, Any], key: str, name: str) -> str:
    first, other = best["method"], second["method"]
    difference = paired_difference(best, second, key)
    if difference is None:
        points = best[key]["mean"] - second[key]["mean"]
        return f"{first} leads {other} by {points:.1f} points of {name}; without a common seed nothing is decided."
    if difference.interval is None:
        points = best[key]["mean"] - second[key]["mean"]
        return f"{first} leads {other} by {points:.1f} points of {name}; one seed cannot decide between them."
    low, high = difference.interval
    measured = (
        f"{difference.mean:.1f} points of {name} (95 % interval {low:.1f} to {high:.1f}, {difference.seeds} seeds)"
    )
    if difference.clear:
        return f"{first} leads {other} by {measured}."
    return f"{first} and {other} cannot be told apart: {measured}."
