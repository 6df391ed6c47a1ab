"""The content of the page as one tree of plain values: texts and numbers; `pictures` adds images and arrays."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mrkd.evaluation.evaluator import Column
from mrkd.reporting.across_runs import across_runs
from mrkd.reporting.conclusion import conclusion
from mrkd.reporting.curves import CURVES, SINGLE_BATCH, SMOOTHING
from mrkd.reporting.difference import paired_difference, ranked, told_apart
from mrkd.reporting.opening import UNTRAINED, opening
from mrkd.reporting.palette import CLASSES, method_styles, untrained_style
from mrkd.reporting.pictures import attention_views, image_maps, relation_views
from mrkd.reporting.protocols import protocols
from mrkd.reporting.read import RunRecord
from mrkd.reporting.table import REFERENCES, columns_of, is_learnt, make_table
from mrkd.system.output import printable


def page_content(runs: Sequence[RunRecord], command: str, *, live: bool = False) -> dict[str, Any]:
    """Build the content of the page, ready for JSON: no number in it is infinite or NaN.

    Args:
        runs: in the order in which their methods are shown.
        command: the command line that reproduces the page.
        live: whether the page polls for updates.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    first = [next(run for run in runs if run.method == method) for method in methods]
    content = {
        "live": live,
        "command": command,
        "opening": opening(runs),
        "methods": methods,
        "palette": {"methods": method_styles(methods), "untrained": untrained_style(), "classes": CLASSES},
        "runs": [_run(run) for run in runs],
        "curves": CURVES,
        "singleBatch": sorted(SINGLE_BATCH),
        "smoothing": SMOOTHING,
        "table": _table(runs),
        "protocols": protocols(runs),
        "across": across_runs(runs),
        "attention": attention_views(first),
        "maps": image_maps(first),
        "relations": relation_views(first),
    }
    return _finite(content)


def to_json(content: Mapping[str, Any]) -> str:
    """JSON that is safe inside a `<script>`: it has no `<`, which could end the script or begin a comment."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _run(run: RunRecord) -> dict[str, Any]:
    summary = run.summary or {}
    last = run.metrics[-1] if run.metrics else {}
    return {
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "finished": run.summary is not None,
        "evaluated": run.evaluation is not None,
        "step": last.get("step", 0),
        "steps": _length(run, last),
        "seconds": summary.get("seconds", last.get("seconds")),
        "verdict": _verdict(run),
        "data": run.data_name,
        "device": summary.get("device"),
        "versions": summary.get("versions"),
        "metrics": _columns(run.metrics),
    }


def _length(run: RunRecord, last: Mapping[str, Any]) -> float | None:
    """Steps of the whole run, as far as its files tell."""
    train = run.section("train")
    given = _number((run.summary or {}).get("steps")) or _number(train.get("steps"))
    if given is not None:
        return given
    # Epochs are whole passes of equal length, so a step and its epoch tell the length of the run.
    epoch, epochs = _number(last.get("epoch")), _number(train.get("epochs"))
    return round(last["step"] / epoch * epochs) if epoch and epochs else None


def _verdict(run: RunRecord) -> dict[str, str]:
    if run.method == UNTRAINED:
        return {"kind": "untrained", "sentence": "random weights; nothing was trained"}
    found = (run.summary or {}).get("verdict")
    if not isinstance(found, dict):
        return {"kind": "training", "sentence": "still training"}
    return {"kind": str(found.get("kind")), "sentence": str(found.get("sentence"))}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics by column: `step`, `epoch`, `seconds`, `values` and `terms` by name; null where nothing was logged."""
    terms = list(dict.fromkeys(name for row in rows for name in _terms(row)))
    return {
        "step": [row["step"] for row in rows],
        "epoch": [_number(row.get("epoch")) for row in rows],
        "seconds": [_number(row.get("seconds", 0.0 if row["step"] == 0 else None)) for row in rows],
        "values": {key: [_number(row.get(key)) for row in rows] for key in CURVES if _logged(rows, key)},
        "terms": {name: [_number(_terms(row).get(name)) for row in rows] for name in terms},
    }


def _logged(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether any row has the number; a curve that is 0 throughout counts."""
    return any(_number(row.get(key)) is not None for row in rows)


def _terms(row: Mapping[str, Any]) -> dict[str, Any]:
    terms = row.get("terms")
    return terms if isinstance(terms, dict) else {}


def _number(value: Any) -> float | None:
    """The number rounded to five digits, which is enough for a screen."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _table(runs: Sequence[RunRecord]) -> dict[str, Any]:
    table = make_table(runs)
    present = columns_of(table["rows"])
    columns = [
        {
            "key": column.key,
            "group": column.group,
            "score": column.score,
            "name": f"{column.group}, {column.score.removesuffix(f', {column.unit}')}".removesuffix(", "),
            "primary": column.primary,
            "unit": column.unit,
            "decimals": column.decimals,
            "better": "higher" if column.higher_is_better else "lower",
            "best": _best(column, table["rows"]),
        }
        for column in present
    ]
    keys = [column.key for column in present]
    rows = [
        {
            "method": row["method"],
            "learnt": is_learnt(row),
            "frozen": row["method"] not in REFERENCES and not row["seeds"],
            "seeds": row["seeds"],
            "cells": {key: row[key] for key in keys if key in row},
        }
        for row in table["rows"]
    ]
    return {
        "columns": columns,
        "rows": rows,
        "data": table["data"],
        "conclusion": conclusion(table["rows"]),
        "differences": _differences(table["rows"]),
    }


def _best(column: Column, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The method to be shaded; only scores in percent have a best one, cost and rank do not."""
    return told_apart(rows, column.key, higher_is_better=column.higher_is_better) if column.unit == "%" else None


def _differences(rows: Sequence[Mapping[str, Any]], key: str = "knn") -> list[dict[str, Any]]:
    """The leader in k-NN minus each other method, by paired seeds; empty if no two seeds are common."""
    order = ranked(rows, key)
    if not order:
        return []
    leader, *others = order
    pairs = [(other, paired_difference(leader, other, key)) for other in others]
    return [
        {
            "leader": leader["method"],
            "other": other["method"],
            "mean": difference.mean,
            "interval": list(difference.interval),
            "seeds": difference.seeds,
            "clear": difference.clear,
        }
        for other, difference in pairs
        if difference is not None and difference.interval is not None
    ]


def _finite(value: Any) -> Any:
    """Without NaN and infinity, which JSON lacks, and with printable names."""
    if isinstance(value, dict):
        return {printable(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value
