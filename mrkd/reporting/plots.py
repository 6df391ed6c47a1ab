"""Curves over several runs as inline SVG: one colour per method, a thin line per seed."""

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrkd.reporting.read import RunRecord

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#6cc5b0", "#9c6b4e", "#ff8ab7", "#97bbf5", "#9498a0")


def loss_and_agreement(runs: Sequence[RunRecord]) -> str:
    """The poster's figure 2: relative loss, and agreement with the entropy that gives it meaning."""
    figure = Figure(figsize=(10.5, 3.0), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for run in runs:
        losses = [(row["step"], row["loss"]) for row in run.metrics if "loss" in row]
        if losses:
            first = losses[0][1] or 1.0
            left.plot([step for step, _ in losses], [value / first for _, value in losses], **_style(runs, run))
    left.set_title("loss / first logged loss")
    _curves(middle, runs, "agreement", "teacher–student agreement, %")
    _curves(right, runs, "teacher_entropy", "teacher entropy, nats")
    return _svg(figure, (left, middle, right), runs)


def health(runs: Sequence[RunRecord]) -> str:
    """k-NN, effective rank, spread of features, and how class tokens lie to each other."""
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    axes = figure.subplots(2, 3).flatten()
    readings = {
        "k-NN on held-out training images, %": "knn",
        "RankMe (effective rank)": "rankme",
        "feature std": "feature_std",
        "mean distance between class tokens": "relation_distance",
        "student–teacher distance correlation": "relation_correlation",
        "mean cosine between class tokens": "cls_cosine",
    }
    for axis, (title, key) in zip(axes, readings.items(), strict=True):
        _curves(axis, runs, key, title)
    return _svg(figure, tuple(axes), runs)


def _style(runs: Sequence[RunRecord], run: RunRecord) -> dict[str, Any]:
    methods = list(dict.fromkeys(other.method for other in runs))
    return {
        "color": COLOURS[methods.index(run.method) % len(COLOURS)],
        "linewidth": 1.4,
        "alpha": 0.9,
        "label": run.method,
    }


def _curves(axis: Axes, runs: Sequence[RunRecord], key: str, title: str) -> None:
    for run in runs:
        points = [(row["step"], value) for row in run.metrics if (value := row.get(key)) is not None]
        if len(points) == 1:  # an untrained network: a level to compare with
            axis.axhline(points[0][1], linestyle=":", **_style(runs, run))
        elif points:
            axis.plot([step for step, _ in points], [value for _, value in points], **_style(runs, run))
    axis.set_title(title)


def _svg(figure: Figure, axes: tuple[Axes, ...], runs: Sequence[RunRecord]) -> str:
    import matplotlib as mpl

    for axis in axes:
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(9)
        axis.grid(visible=True, linewidth=0.4, alpha=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    handles: dict[str, Artist] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=min(6, len(handles)),
            fontsize=8,
            frameon=False,
        )
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    return re.sub(r"^.*?(?=<svg)", "", text, flags=re.DOTALL)
