"""Methods beside each other, from the tables that `keep_table.py` keeps."""

from collections.abc import Callable
from functools import partial

from mrkd.reporting.columns import COLUMNS
from mrkd.reporting.difference import paired_difference
from mrkd.reporting.table import REFERENCES, format_cell
from tables.form import markdown, read

COLUMNS_AFTER_KNN = ("linear_acc1", "linear_10_acc1", "linear_100_acc1", "kmeans_acc", "rankme", "peak_memory_mib")
"""Columns after k-NN."""


def comparison(name: str = "cifar10-cpu.json", baseline: str | None = None) -> str:
    """A comparison's table; differences are to iBOT's seeds in the same table, or in `baseline`."""
    table = read(name)
    [ibot] = [row for row in read(baseline or name)["rows"] if row["method"] == "ibot"]
    keys = [key for key in COLUMNS_AFTER_KNN if any(key in row for row in table["rows"])]
    rows = [
        [
            f"`{row['method']}`",
            ", ".join(map(str, row["seeds"])),
            format_cell(row["knn"]),
            "–" if row["method"] in ("ibot", *REFERENCES) else str(paired_difference(row, ibot)),
            *(format_cell(row.get(key), COLUMNS[key].decimals) for key in keys),
        ]
        for row in table["rows"]
    ]
    titles = [COLUMNS[key].title.replace("epochs", "ep") for key in keys]
    head = ["method", "seeds", COLUMNS["knn"].title, "− `ibot`", *titles]
    made = f"Commit {table['commit']}; {table['data']['device']} for each run."
    if any(len(row["peak_memory_mib"]["values"]) < len(row["seeds"]) for row in table["rows"] if row["seeds"]):
        made += " Memory is that of the seeds that were added last."
    return f"{markdown(head, rows)}\n\n{made}"


def quick(columns: dict[str, str]) -> str:
    """Columns by key with what stands above them; without seconds, because two runs share the machine."""
    table = read("quick.json")
    keys = [key for key in columns if key != "seconds" and any(key in row for row in table["rows"])]
    rows = [
        [f"`{row['method']}`", *(format_cell(row.get(key), COLUMNS[key].decimals) for key in keys)]
        for row in table["rows"]
    ]
    seeds = ", ".join(map(str, table["rows"][-1]["seeds"]))
    made = f"Commit {table['commit']}, seeds {seeds}, torch {table['data']['versions']['torch']}."
    return f"{markdown(['method', *(columns[key] for key in keys)], rows)}\n\n{made}"


POSTER = {"random": 33.90, "ibot": 25.65, "rkd-d": 33.82, "rkd-a": 33.72}
"""Its Table 1, linear probe of 10 epochs, percent. Its rows 2 to 4 are named iBOT & KD, iBOT & RKD-D, iBOT & RKD-A."""


def cifar10_poster() -> str:
    """Linear probes of 10 epochs less those of the same network's random weights."""

    def means(name: str) -> dict[str, float]:
        return {row["method"]: row["linear_10_acc1"]["mean"] for row in read(name)["rows"] if row["seeds"]}

    def gain(figures: dict[str, float], method: str) -> str:
        return f"{figures[method] - figures['random']:+.1f}" if method in figures else "–"

    control, tuned = means("cifar10-control.json"), means("cifar10-tuned.json")
    rows = [
        [f"`{method}`", *(gain(figures, method) for figures in (POSTER, control, tuned))]
        for method in tuned
        if method != "random"
    ]
    return markdown(["method", "the poster", "its setting, here", "our settings"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "quick": partial(quick, {key: column.heading for key, column in COLUMNS.items()}),
    "cifar10": comparison,
    "cifar10-tuned": partial(comparison, "cifar10-tuned.json"),
    "cifar10-muon": partial(comparison, "cifar10-muon.json"),
    "cifar10-long": partial(comparison, "cifar10-long.json"),
    "cifar10-others": partial(comparison, "cifar10-others.json", "cifar10-tuned.json"),
    "cifar10-control": partial(comparison, "cifar10-control.json"),
    "cifar10-poster": cifar10_poster,
    "imagenette": partial(comparison, "imagenette.json"),
    "clothing": partial(comparison, "clothing.json"),
}
