"""What run directories say, as plain numbers."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrkd.errors import UserError

FIGURES = {
    "knn": "k-NN @1",
    "linear_10_acc1": "linear @1 (10 ep)",
    "linear_10_acc5": "@5",
    "linear_100_acc1": "linear @1 (100 ep)",
    "finetune_acc1": "fine-tune @1",
    "finetune_acc5": "@5 (fine-tune)",
    "kmeans_acc": "k-means ACC",
    "kmeans_nmi": "NMI",
    "kmeans_ari": "ARI",
    "cluster_head_acc": "head ACC",
    "rankme": "RankMe",
    "seconds": "train s",
    "peak_memory_mib": "peak MiB",
}
"""Columns of the comparison: key in table.json, heading."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run as the report needs it."""

    name: str
    method: str
    seed: int
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    evaluation: dict[str, Any] | None
    attention_png: str | None
    """Base64 of the figure."""


def flat_figures(evaluation: dict[str, Any], summary: dict[str, Any]) -> dict[str, float]:
    """The table's figures of one run; what was not measured is absent."""
    flat = {
        "knn": evaluation["knn"]["acc1"],
        "rankme": evaluation["health"]["rankme"],
        "seconds": summary["seconds"],
        "peak_memory_mib": summary["peak_memory_mib"],
    }
    for length, scores in evaluation["linear"].items():
        epochs = length.removesuffix("_epochs")
        flat[f"linear_{epochs}_acc1"], flat[f"linear_{epochs}_acc5"] = scores["acc1"], scores["acc5"]
    for kind in ("kmeans", "cluster_head"):
        for figure in ("acc", "nmi", "ari"):
            if kind in evaluation:
                flat[f"{kind}_{figure}"] = evaluation[kind][figure]
    if "finetune" in evaluation:
        flat["finetune_acc1"], flat["finetune_acc5"] = evaluation["finetune"]["acc1"], evaluation["finetune"]["acc5"]
    return flat


def read_run(path: Path) -> RunRecord:
    """Read one run directory.

    Raises:
        UserError: there is no finished run, or one of its files is not valid JSON.
    """
    if not (path / "summary.json").is_file():
        raise UserError(f"no finished run at {path}: expected a directory written by 'mrkd pretrain'")
    summary = _json(path / "summary.json")
    metrics_path = path / "metrics.jsonl"
    try:
        metrics = [json.loads(line) for line in metrics_path.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        metrics = []
    except json.JSONDecodeError as error:
        raise UserError(f"{metrics_path} is not valid JSON lines: {error}") from None
    evaluation = _json(path / "evaluation.json") if (path / "evaluation.json").is_file() else None
    figure = path / "attention.png"
    png = base64.b64encode(figure.read_bytes()).decode() if figure.is_file() else None
    return RunRecord(
        name=path.name,
        method=summary["method"],
        seed=summary["seed"],
        metrics=metrics,
        summary=summary,
        evaluation=evaluation,
        attention_png=png,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
