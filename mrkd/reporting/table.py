"""The comparison table: one row per method, with mean and standard deviation over seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from mrkd.evaluation.evaluator import Column
from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.reporting.columns import COLUMNS, COSTS, JACCARD
from mrkd.reporting.read import RunRecord, read_pixels
from mrkd.system.output import printable

PIXELS_ROW = "pixels"
"""Raw pixels: no method and without a seed."""
REFERENCES = (PIXELS_ROW, "random")
"""Rows without training."""


def is_learnt(row: Mapping[str, Any]) -> bool:
    """Whether a row is a method that was trained here, and neither a reference nor a frozen teacher."""
    return row["method"] not in REFERENCES and bool(row["seeds"])


def make_table(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Mean and sample std over the seeds of each method, in the order of the runs, without runs not evaluated.

    If the runs are of one comparison that has measured raw pixels, these are the first row. A cell that not all
    seeds of its row have names its own `seeds`.
    """
    by_method: dict[str, list[dict[str, float]]] = {}
    seeds: dict[str, list[int]] = {}
    data: dict[str, Any] = {}
    for run in runs:
        if run.evaluation is None or run.summary is None:
            continue
        by_method.setdefault(run.method, []).append(flat_figures(run))
        seeds.setdefault(run.method, []).append(run.seed)
        data = {**run.evaluation["data"], "device": run.summary["device"], "versions": run.summary["versions"]}
    pixels = read_pixels(runs)
    rows: list[dict[str, Any]] = []
    if pixels is not None and by_method:
        measured = {key: mean_std([number]) for key, number in _evaluation_figures(pixels).items()}
        rows.append({"method": PIXELS_ROW, "seeds": [], **measured})
    for method, figures in by_method.items():
        row: dict[str, Any] = {"method": method, "seeds": seeds[method]}
        for key in COLUMNS:
            values = [figure[key] for figure in figures if key in figure]
            if values:
                row[key] = mean_std(values)
            if 0 < len(values) < len(figures):
                row[key]["seeds"] = [seed for seed, figure in zip(seeds[method], figures, strict=True) if key in figure]
        rows.append(row)
    return {"rows": rows + _teachers(runs), "data": data}


def _teachers(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row for each frozen teacher that was measured beside its students, by its weights."""
    teachers = [run.evaluation["teacher"] for run in runs if run.evaluation and "teacher" in run.evaluation]
    rows = []
    for teacher in {teacher["sha256"]: teacher for teacher in teachers}.values():
        figures = _evaluation_figures(teacher)
        cells = {key: mean_std([figures[key]]) for key in COLUMNS if key in figures}
        rows.append({"method": f"teacher {teacher['source']}", "seeds": [], **cells})
    return rows


def flat_figures(run: RunRecord) -> dict[str, float]:
    """The numbers of an evaluated run by column; columns that were not measured are absent."""
    assert run.evaluation is not None
    found: dict[str, float | None] = {**_evaluation_figures(run.evaluation)}
    found |= {column.key: column.number(run.summary) for column in COSTS}
    if run.segmentation is not None:
        found[JACCARD.key] = _jaccard_at_chosen_mass(run.segmentation)
    return {key: number for key, number in found.items() if number is not None}


def _evaluation_figures(evaluation: Mapping[str, Any]) -> dict[str, float]:
    found = {
        column.key: column.number(evaluator.value_in(evaluation))
        for evaluator in EVALUATORS
        for column in evaluator.columns
    }
    return {key: number for key, number in found.items() if number is not None}


def _jaccard_at_chosen_mass(segmentation: Mapping[str, Any]) -> float:
    """The overlap at the mass nearest to the configured one."""
    scores, masses = segmentation["jaccard"]["combined"], segmentation["mass"]
    return scores[min(range(len(masses)), key=lambda place: abs(masses[place] - segmentation["chosen_mass"]))]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns for which at least one row has a number."""
    return [column for key, column in COLUMNS.items() if any(key in row for row in rows)]


def mean_std(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value) and the values themselves."""
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None, "values": values}


def table_markdown(table: dict[str, Any]) -> str:
    """The table as Markdown: one row per method, mean ± std with several seeds."""
    columns = columns_of(table["rows"])
    lines = ["| method | " + " | ".join(column.heading for column in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in table["rows"]:
        cells = [format_cell(row.get(column.key), column.decimals) for column in columns]
        lines.append(f"| {printable(row['method'])} | " + " | ".join(cells) + " |")
    data = {key: printable(value) for key, value in table["data"].items()}
    seeds = sorted({seed for row in table["rows"] for seed in row["seeds"]})
    lines.append(
        f"\n{data['name']}: {data['train_images']} training images, scored on {data['test_images']} images of "
        f"the {data['scored_on']} split; seeds {', '.join(map(str, seeds))}; {data['device']}. Percent unless "
        "stated."
    )
    for method, own in table.get("tuned", {}).items():
        lines.append(f"\nOnly {method}: {', '.join(f'{key} {value}' for key, value in own.items())}.")
    if table.get("conclusion"):
        lines.append(f"\n{table['conclusion']}")
    return "\n".join(lines) + "\n"


def format_cell(value: Mapping[str, Any] | None, decimals: int = 1) -> str:
    """`93.2 ± 0.4`, `93.2` for one seed, or a dash."""
    if value is None or value["mean"] is None:
        return "–"
    mean, std = value["mean"], value["std"]
    return f"{mean:.{decimals}f}" + ("" if std is None else f" ± {std:.{decimals}f}")
