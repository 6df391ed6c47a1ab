"""The comparison table: figures of many runs as one row per method."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from mrkd.reporting.read import FIGURES, RunRecord, flat_figures


def make_table(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Mean and sample std over the seeds of every method, in the order of the runs; runs not evaluated are left out."""
    by_method: dict[str, list[dict[str, float]]] = {}
    seeds: dict[str, list[int]] = {}
    data: dict[str, Any] = {}
    for run in runs:
        if run.evaluation is None or run.summary is None:
            continue
        by_method.setdefault(run.method, []).append(flat_figures(run))
        seeds.setdefault(run.method, []).append(run.seed)
        data = {**run.evaluation["data"], "device": run.summary["device"], "versions": run.summary["versions"]}
    rows = []
    for method, figures in by_method.items():
        row: dict[str, Any] = {"method": method, "seeds": seeds[method]}
        for key in FIGURES:
            values = [figure[key] for figure in figures if key in figure]
            if values:
                row[key] = mean_std(values)
        rows.append(row)
    return {"rows": rows, "data": data}


def mean_std(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value) and the values themselves."""
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None, "values": values}


def table_markdown(table: dict[str, Any]) -> str:
    """The table for a README: one row per method, mean ± std where there are several seeds."""
    keys = [key for key in FIGURES if any(key in row for row in table["rows"])]
    lines = ["| method | " + " | ".join(FIGURES[key] for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for row in table["rows"]:
        cells = [format_cell(row.get(key)) for key in keys]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    data = table["data"]
    seeds = sorted({seed for row in table["rows"] for seed in row["seeds"]})
    lines.append(
        f"\n{data['name']}: {data['train_images']} training images, scored on {data['test_images']} images of "
        f"the {data['scored_on']} split; seeds {', '.join(map(str, seeds))}; {data['device']}. Percent unless "
        "stated."
    )
    for method, own in table.get("tuned", {}).items():
        lines.append(f"\nOnly {method}: {', '.join(f'{key} {value}' for key, value in own.items())}.")
    return "\n".join(lines) + "\n"


def format_cell(value: dict[str, Any] | None) -> str:
    """`93.2 ± 0.4`, `93.2` for one seed, or a dash."""
    if value is None or value["mean"] is None:
        return "–"
    return f"{value['mean']:.1f}" + ("" if value["std"] is None else f" ± {value['std']:.1f}")
