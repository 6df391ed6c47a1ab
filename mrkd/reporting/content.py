"""Everything the page shows, as one tree of plain values: words and numbers here, pictures in `pictures`."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mrkd.evaluation.evaluator import main_results
from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.reporting.palette import CLASSES, method_styles, untrained_style
from mrkd.reporting.pictures import attention_views, image_maps, relation_views
from mrkd.reporting.read import RunRecord
from mrkd.reporting.table import REFERENCES, columns_of, make_table

CURVES = {
    "loss": "loss",
    "agreement": "teacher–student agreement, %",
    "teacher_entropy": "teacher entropy, nats",
    "feature_std": "feature std",
    "rankme": "RankMe, effective rank",
    "knn": "k-NN on held-out training images, %",
    "relation_correlation": "student–teacher distance correlation",
    "relation_distance": "mean distance between class tokens",
    "cls_cosine": "mean cosine between class tokens",
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
"""Key in metrics.jsonl, title."""
MAX_POINTS = 1000
"""Longer runs keep every k-th logged step, and every step at which features were measured."""


def page_content(runs: Sequence[RunRecord], command: str, *, live: bool = False) -> dict[str, Any]:
    """The tree behind the page, ready for JSON: no number in it is infinite or NaN.

    Args:
        runs: in the order in which their methods are shown.
        command: what to type to get the same again.
        live: whether the page will ask for news.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    first = [next(run for run in runs if run.method == method) for method in methods]
    content = {
        "live": live,
        "command": command,
        "methods": methods,
        "palette": {"methods": method_styles(methods), "untrained": untrained_style(), "classes": CLASSES},
        "runs": [_run(run) for run in runs],
        "curves": CURVES,
        "table": _table(runs),
        "protocols": _protocols(runs),
        "attention": attention_views(first),
        "maps": image_maps(first),
        "relations": relation_views(first),
    }
    return _finite(content)


def to_json(content: Mapping[str, Any]) -> str:
    """JSON that may stand inside a `<script>`: no `<` is left that could end it or begin a comment."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _run(run: RunRecord) -> dict[str, Any]:
    summary = run.summary or {}
    last = run.metrics[-1] if run.metrics else {}
    # Epochs are whole passes of equal length, so a step and its epoch tell the length of the run.
    train = _section(run.config, "train")
    epochs, steps = train.get("epochs"), summary.get("steps") or train.get("steps")
    if steps is None and last.get("epoch") and epochs:
        steps = round(last["step"] / last["epoch"] * epochs)
    verdict = summary.get("verdict") or {"kind": "training", "sentence": "still training"}
    return {
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "finished": run.summary is not None,
        "evaluated": run.evaluation is not None,
        "step": last.get("step", 0),
        "steps": steps,
        "seconds": summary.get("seconds", last.get("seconds")),
        "verdict": {"kind": str(verdict.get("kind")), "sentence": str(verdict.get("sentence"))},
        "data": str(_section(run.config, "data").get("source", "")),
        "device": summary.get("device"),
        "versions": summary.get("versions"),
        "metrics": _columns(run.metrics),
    }


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics by column: `step`, `epoch`, `seconds`, `values` and `terms` by name; null where nothing was logged."""
    stride = max(1, len(rows) // MAX_POINTS)
    kept = [row for place, row in enumerate(rows) if place % stride == 0 or "rankme" in row or place == len(rows) - 1]
    terms = list(dict.fromkeys(name for row in kept for name in _terms(row)))
    return {
        "step": [row["step"] for row in kept],
        "epoch": [_number(row.get("epoch")) for row in kept],
        "seconds": [_number(row.get("seconds", 0.0 if row["step"] == 0 else None)) for row in kept],
        "values": {key: values for key in CURVES if any(values := [_number(row.get(key)) for row in kept])},
        "terms": {name: [_number(_terms(row).get(name)) for row in kept] for name in terms},
    }


def _terms(row: Mapping[str, Any]) -> dict[str, Any]:
    terms = row.get("terms")
    return terms if isinstance(terms, dict) else {}


def _number(value: Any) -> float | None:
    """Five digits are more than a screen shows."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _table(runs: Sequence[RunRecord]) -> dict[str, Any]:
    table = make_table(runs)
    present = columns_of(table["rows"])
    columns = [
        {
            "key": column.key,
            "heading": column.heading,
            "title": column.title,
            "unit": column.unit,
            "decimals": column.decimals,
            "better": "higher" if column.higher_is_better else "lower",
        }
        for column in present
    ]
    keys = [column.key for column in present]
    rows = [
        {
            "method": row["method"],
            "learnt": row["method"] not in REFERENCES,
            "seeds": row["seeds"],
            "cells": {key: row[key] for key in keys if key in row},
        }
        for row in table["rows"]
    ]
    return {"columns": columns, "rows": rows, "data": table["data"]}


def _protocols(runs: Sequence[RunRecord]) -> list[dict[str, str]]:
    """How the first evaluated run was measured, in words."""

    def describe(protocol: Mapping[str, Any]) -> str:
        return ", ".join(f"{key.replace('_', ' ')}: {json.dumps(value)}" for key, value in protocol.items())

    evaluated = [run.evaluation for run in runs if run.evaluation is not None]
    results = main_results(EVALUATORS, evaluated[0]) if evaluated else []
    return [{"name": result.title, "text": describe(result.protocol)} for result in results if result.protocol]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
