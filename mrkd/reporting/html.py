"""The report page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from mrkd.errors import UserError
from mrkd.reporting import plots
from mrkd.reporting.read import FIGURES, RunRecord, read_run
from mrkd.reporting.table import format_cell, make_table
from mrkd.run import write_text


def report(runs: Sequence[str | Path] | str | Path, out: str | Path | None = None, command: str = "") -> Path:
    """Write one HTML file about one or several runs.

    Args:
        runs: run directories.
        out: the file; `report.html` inside the first run when None.
        command: what to type to get the same again.
    Returns:
        The path of the file.
    Raises:
        UserError: a directory holds no finished run.
    """
    paths = [Path(runs)] if isinstance(runs, str | Path) else [Path(path) for path in runs]
    if not paths:
        raise UserError("report needs at least one run")
    records = [read_run(path) for path in paths]
    target = Path(out) if out is not None else paths[0] / "report.html"
    environment = Environment(loader=PackageLoader("mrkd.reporting", "."), autoescape=select_autoescape())
    page = environment.get_template("template.html").render(
        table=[(row["method"], [format_cell(row.get(key)) for key in FIGURES]) for row in make_table(records)["rows"]],
        headings=list(FIGURES.values()),
        # matplotlib escapes text inside its SVG.
        loss=Markup(plots.loss_and_agreement(records)),
        health=Markup(plots.health(records)),
        attention=[run for run in records if run.attention_png and run.seed == records[0].seed],
        verdicts=[(run.name, run.summary["verdict"]) for run in records],
        protocols=_protocols(records),
        command=command or "mrkd report " + " ".join(map(str, paths)),
        records=records,
    )
    write_text(target, page)
    return target


def _protocols(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    evaluated = [run.evaluation for run in records if run.evaluation is not None]
    if not evaluated:
        return []

    def describe(protocol: dict[str, Any]) -> str:
        return ", ".join(f"{key.replace('_', ' ')}: {json.dumps(value)}" for key, value in protocol.items())

    first = evaluated[0]
    found = [("k-NN", first["knn"]["protocol"])]
    found += [(f"linear, {name.replace('_', ' ')}", value["protocol"]) for name, value in first["linear"].items()]
    found += [
        (name.replace("_", " "), first[name]["protocol"])
        for name in ("finetune", "kmeans", "cluster_head")
        if name in first
    ]
    return [(name, describe(protocol)) for name, protocol in found]
