"""Static figures for papers and slides, as PNG and SVG, with the colours of the page."""

import re
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrkd.reporting.curves import CURVES, SINGLE_BATCH, SMOOTHING, smoothed
from mrkd.reporting.palette import CLASSES, method_styles
from mrkd.reporting.pictures import class_edges, training_grid
from mrkd.reporting.read import RunRecord
from mrkd.runs.run import ATTENTION, EMBEDDING, RELATIONS
from mrkd.system.files import write_atomically
from mrkd.system.output import printable

TRAINING = {
    "loss": "loss / first logged loss",
    "agreement": "teacher–student agreement, %",
    "teacher_entropy": "teacher entropy, nats",
}
"""Curves of the poster's figure 2: relative loss, agreement, and entropy."""
HEALTH = ("knn", "rankme", "feature_std", "relation_distance", "relation_correlation", "cls_cosine")
COLUMNS = 3
"""Maximum number of curves side by side."""
LEGEND_LETTERS = 90
"""Letters that fit side by side below a map, with five for each mark and its gap."""
FARTHEST = 2.2
"""Distance, over the mean, at which the colours of a matrix end."""
CELL, GAP = 108, 6
"""Side of an attention map, and gap between two, in pixels."""
_HIDDEN = np.array([148, 184, 214])
"""Colour of patches outside a mask: pale blue, which is visible on dark and on light images."""


def write_figures(runs: Sequence[RunRecord], folder: Path) -> list[Path]:
    """Write all figures for which these runs have data, as `NAME.png` and `NAME.svg`.

    Args:
        runs: the runs, with those of one method in sequence.
        folder: created if it does not exist.
    Returns:
        The paths of the files.
    """
    first = {run.method: run for run in reversed(runs)}
    methods = list(dict.fromkeys(run.method for run in runs))
    styles = dict(zip(methods, method_styles(methods), strict=True))
    figures = {
        "curves": _curves(runs, TRAINING, styles),
        "health": _curves(runs, {key: CURVES[key] for key in HEALTH}, styles),
    }
    for method in methods:
        name = re.sub(r"[^\w+.-]+", "-", method)
        figures[f"attention-{name}"] = _attention(first[method])
        figures[f"map-{name}"] = _map(first[method])
        figures[f"relations-{name}"] = _relations(first[method], styles[method])
    written = []
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mrkd", "font.family": "sans-serif", "font.size": 9}):
        for name, figure in figures.items():
            if figure is not None:
                written += _save(figure, folder / name)
    return written


def _save(figure: Figure, stem: Path) -> list[Path]:
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is made, and each file would make it again
    written = []
    for kind, metadata in (("png", None), ("svg", {"Date": None})):
        target = stem.with_name(f"{stem.name}.{kind}")
        save = partial(figure.savefig, format=kind, dpi=150, metadata=metadata)
        write_atomically(target, lambda path, save=save: save(path))  # type: ignore[misc]
        written.append(target)
    return written


def _plain(text: str) -> str:
    """A name is not mathematics, whatever dollars are in it."""
    return printable(text).replace("$", r"\$")


def _titled(figure: Figure, title: str, note: str) -> None:
    """A title over a line with data, method, seed and scale, so that the picture can stand alone."""
    figure.suptitle(f"{_plain(title)}\n{_plain(note)}", fontsize=8.5)


def _curves(runs: Sequence[RunRecord], titles: dict[str, str], styles: dict[str, dict[str, str]]) -> Figure | None:
    """One axis for each curve that a run has logged; single batches are thin lines beside a smoothed one."""
    logged = {key: title for key, title in titles.items() if any(_points(run, key) for run in runs)}
    if not logged:
        return None
    columns = min(COLUMNS, len(logged))
    rows = -(-len(logged) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.7 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(logged) :]:
        axis.remove()
    handles: dict[str, Any] = {}
    for axis, (key, title) in zip(axes, logged.items(), strict=False):
        for run in runs:
            _line(axis, run, key, styles[run.method])
        axis.set_title(title, fontsize=9.5)
        axis.set_xlabel("steps")
        axis.grid(visible=True, linewidth=0.4, alpha=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2 * columns, frameon=False)
    note = f"{_data(runs)} · {', '.join(run.label for run in runs)}"
    if SINGLE_BATCH & logged.keys():
        note += f" · thin: single batches, thick: smoothed over {SMOOTHING:.0%} of the run"
    figure.suptitle("\n".join(textwrap.wrap(_plain(note), 48 * columns)), fontsize=8)
    return figure


def _data(runs: Sequence[RunRecord]) -> str:
    return ", ".join(dict.fromkeys(run.data_name for run in runs))


def _points(run: RunRecord, key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in run.metrics if isinstance(row.get(key), int | float)]


def _line(axis: Axes, run: RunRecord, key: str, style: dict[str, str]) -> None:
    points = _points(run, key)
    if not points:
        return
    steps, values = (np.array(part, dtype=float) for part in zip(*points, strict=True))
    if key == "loss":
        values = values / (values[0] or 1.0)
    dashes = [float(part) for part in style["dash"].split()]
    look: dict[str, Any] = {"color": style["colour"], "linewidth": 1.3, "label": _plain(run.method)}
    look["linestyle"] = (0, dashes) if dashes else "solid"
    if len(points) == 1:  # an untrained network: a horizontal line
        axis.axhline(values[0], **look)
    elif key in SINGLE_BATCH:
        axis.plot(steps, values, color=style["colour"], linewidth=0.6, alpha=0.45)
        axis.plot(steps, smoothed(steps.tolist(), values.tolist()), **look)
    else:
        axis.plot(steps, values, **look)


def _attention(run: RunRecord) -> Figure | None:
    """The poster's figure 3: images, attention of each head, mean over heads, and the mask."""
    arrays = run.arrays(ATTENTION)
    if arrays is None or "mass" not in arrays:
        return None
    images, heads, combined, mask = (arrays[name] for name in ("images", "heads", "combined", "mask"))
    titles = ["image", *(f"head {head + 1}" for head in range(heads.shape[1])), "all heads"]
    titles.append(f"{float(arrays['mass']):.0%} of attention")
    step = CELL + GAP
    montage = np.full((step * len(images) - GAP, step * len(titles) - GAP, 3), 255, np.uint8)
    for row, image in enumerate(images):
        pixels = _enlarged(image.transpose(1, 2, 0))
        heat = [_heat(pixels, panel) for panel in (*heads[row], combined[row])]
        for column, cell in enumerate([pixels, *heat, _paled(pixels, mask[row])]):
            montage[step * row : step * row + CELL, step * column : step * column + CELL] = cell
    height, width, _ = montage.shape
    figure = Figure(figsize=(width / 90, height / 90 + 0.8), layout="constrained")
    axis = figure.add_subplot()  # one picture, because matplotlib takes seconds for dozens of axes
    axis.imshow(montage, interpolation="nearest")
    for column, name in enumerate(titles):
        axis.text(step * column + CELL / 2, -5, name, fontsize=8, ha="center")
    axis.set_axis_off()
    grid, trained = list(heads.shape[-2:]), training_grid(run)
    enlarged = (
        f" where training had {trained[0]} × {trained[1]}: images are enlarged" if trained and trained != grid else ""
    )
    _colour_bar(figure, axis, "magma", 1, ["0", "maximum of the map, at least 4 times uniform"])
    _titled(
        figure,
        "Attention of the class token in the last block",
        f"{_data([run])} · {run.label} · {grid[0]} × {grid[1]} patches{enlarged}",
    )
    return figure


def _colour_bar(figure: Figure, axes: Any, cmap: str, top: float, ends: list[str]) -> None:
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, top), cmap)
    bar = figure.colorbar(scale, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.02)
    bar.set_ticks([0, top], labels=ends)
    bar.ax.tick_params(labelsize=7, length=0)
    bar.outline.set_visible(False)


def _enlarged(grid: np.ndarray) -> np.ndarray:
    """Enlarge the first two axes to `CELL` pixels by repeating values."""
    rows, columns = (np.arange(CELL) * side // CELL for side in grid.shape[:2])
    return grid[rows][:, columns]


def _heat(pixels: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """Draw a map over an image; its scale ends at its maximum, or at four times the uniform value if that is higher."""
    colour = mpl.colormaps["magma"](_enlarged(panel / max(panel.max(), 4 / panel.size)))[..., :3]
    return (0.3 * pixels.mean(axis=2, keepdims=True) + 0.7 * 255 * colour).astype(np.uint8)


def _paled(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(_enlarged(mask)[..., None], pixels, 0.25 * pixels + 0.75 * _HIDDEN).astype(np.uint8)


def _map(run: RunRecord) -> Figure | None:
    arrays = run.arrays(EMBEDDING)
    if arrays is None:
        return None
    figure = Figure(figsize=(9, 4.9), layout="constrained")
    names = [_plain(str(name)) for name in arrays["class_names"]]
    for axis, (key, title) in zip(figure.subplots(1, 2), _layouts(arrays).items(), strict=True):
        for label in np.unique(arrays["labels"]):
            points = arrays[key][arrays["labels"] == label]
            axis.scatter(*points.T, s=9, linewidths=0, color=CLASSES[label % len(CLASSES)], label=names[label])
        axis.set(title=title, xticks=[], yticks=[])
        axis.set_aspect("equal", adjustable="datalim")
        axis.spines[:].set_visible(False)
    if len(names) <= 30:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        columns = max(1, min(10, LEGEND_LETTERS // (max(map(len, labels)) + 5)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, markerscale=2)
    _titled(
        figure,
        f"Class tokens of {len(arrays['labels'])} test images",
        f"{_data([run])} · {run.label} · axes without units",
    )
    return figure


def _layouts(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    first, second = (f"{part:.0%}" for part in arrays["explained"][:2])
    return {
        "tsne": f"t-SNE, perplexity {float(arrays['perplexity']):.0f}",
        "pca": f"PCA, {first} + {second} of variance",
    }


def _relations(run: RunRecord, style: dict[str, str]) -> Figure | None:
    """Distance matrices of teacher and student, divided by their mean, before the first step and at the last record."""
    arrays = run.arrays(RELATIONS)
    if arrays is None:
        return None
    figure = Figure(figsize=(8.4, 6.3), layout="constrained")
    axes = figure.subplots(2, 3)
    images, edges = arrays["views"].shape[1], class_edges(arrays.get("labels"))
    for row, moment in enumerate((0, -1)):
        sides = [arrays[side][moment] / (arrays[side][moment].mean() or 1.0) for side in ("teacher", "student")]
        for axis, pairs, side in zip(axes[row], sides, ("teacher's", "student's"), strict=False):
            axis.imshow(_matrix(pairs, images), cmap="viridis", vmin=0, vmax=FARTHEST, interpolation="nearest")
            for edge in edges:
                axis.axhline(edge - 0.5, color="white", linewidth=0.6)
                axis.axvline(edge - 0.5, color="white", linewidth=0.6)
            axis.set_title(f"{side} distances, step {arrays['steps'][moment]}", fontsize=9)
            axis.set_axis_off()
        _scatter(axes[row, 2], sides, style["colour"])
    _colour_bar(figure, axes, "viridis", FARTHEST, ["distance 0", f"{FARTHEST} times the mean, or more"])
    lines = "; lines between classes" if edges else ""
    _titled(
        figure,
        f"Distances between the class tokens of one batch of {images} training images, over their mean{lines}",
        f"{_data([run])} · {run.label}",
    )
    return figure


def _scatter(axis: Axes, sides: Sequence[np.ndarray], colour: str) -> None:
    """Each pair once, student against teacher; every point is inside."""
    top = 1.04 * max(FARTHEST, *(float(pairs.max()) for pairs in sides))
    axis.plot([0, top], [0, top], color="#8b939c", linewidth=0.8, linestyle="dashed")
    axis.scatter(sides[0], sides[1], s=4, linewidths=0, alpha=0.35, color=colour, rasterized=True, clip_on=False)
    axis.set(xlim=(0, top), ylim=(0, top), xlabel="teacher's", ylabel="student's")
    axis.set_aspect("equal")
    axis.spines[["top", "right"]].set_visible(False)


def _matrix(pairs: np.ndarray, images: int) -> np.ndarray:
    matrix = np.zeros((images, images))
    matrix[np.triu_indices(images, 1)] = pairs
    return matrix + matrix.T
