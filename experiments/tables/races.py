"""Core-seconds to a stated k-NN, from race.json."""

from collections.abc import Callable
from statistics import median
from typing import Any

from tables.form import machine, markdown, number, read


def race() -> str:
    """Contestants in the order in which they ran: median and range over their runs."""
    record = read("race.json")
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in record["rows"]:
        runs.setdefault(row["contestant"], []).append(row)
    targets = list(record["rows"][0]["core_seconds_to"])
    rows = [
        [
            f"`{name}`",
            str(len(own)),
            *(_reached([row["core_seconds_to"][target] for row in own]) for target in targets),
            _spread([row["curve"][-1]["core_seconds"] for row in own], number),
            _spread([row["curve"][-1]["knn"] for row in own], "{:.1f}".format),
        ]
        for name, own in runs.items()
    ]
    head = [
        "contestant",
        "runs",
        *(f"core-seconds to {target} %" for target in targets),
        "whole run",
        "k-NN at its end",
    ]
    images = f"{record['images']:,} images, {record['epochs']} passes, k-NN of {record['rows'][0]['held_out']:,} others"
    limit = f"the pass in which it exceeded {record['limit']:,.0f} core-seconds"
    lightly = f", lightly {record['lightly']}" if record["lightly"] else ""
    made = f"Median (range) over the runs. {images}{lightly}. A run was stopped after {limit}. {machine(record)}"
    return f"{markdown(head, rows)}\n\n{made}"


def _reached(seconds: list[float | None]) -> str:
    """Of the runs that reached it; how many, where not all did."""
    found = [one for one in seconds if one is not None]
    if not found:
        return "not reached"
    return _spread(found, number) + ("" if len(found) == len(seconds) else f", {len(found)} of {len(seconds)} runs")


def _spread(values: list[float], form: Callable[[float], str]) -> str:
    return form(median(values)) + (f" ({form(min(values))}–{form(max(values))})" if len(values) > 1 else "")


TABLES: dict[str, Callable[[], str]] = {"race": race}
