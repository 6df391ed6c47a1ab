"""Draw the headline result for README and site from the committed JSON: docs/figures/headline-*.svg.

    python experiments/headline_figure.py

k-NN on CIFAR-10's test images of iBOT and structural, beside raw pixels and random weights; one dot for each seed.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from svg import THEMES, Theme, line, page, text
from tables.form import read

from mrkd.reporting.palette import method_styles, untrained_style

WIDTH, ROW, LEFT, RIGHT = 860, 34, 240, 80
LOW, HIGH = 0, 80
"""Ends of the axis, in percent."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Results that were measured under the same conditions."""

    title: str
    rows: list[tuple[str, list[float]]]
    """Method and its k-NN in percent, one value for each seed."""


def groups() -> list[Group]:
    pixels = {row["train_images"]: row["knn"] for row in read("pixels.json")["rows"]}
    small = {row["method"]: row["knn"]["values"] for row in read("cifar10-long.json")["rows"]}
    large: dict[str, list[float]] = {}
    for run in read("gpu.json")["training"]["runs"]:
        large.setdefault(run["summary"]["method"], []).append(run["evaluation"]["knn"]["acc1"])
    return [
        Group(
            title="10,000 images, a small ViT, 50 passes on one CPU core",
            rows=[
                ("random weights", small["random"]),
                ("raw pixels", [pixels[10000]]),
                ("iBOT", small["ibot"]),
                ("structural", small["structural"]),
            ],
        ),
        Group(
            title="50,000 images, ViT-S/8, 22 passes on one H200",
            rows=[
                ("raw pixels", [pixels[50000]]),
                ("iBOT", large["ibot"]),
                ("structural", large["structural"]),
            ],
        ),
    ]


def across(percent: float) -> float:
    return LEFT + (percent - LOW) / (HIGH - LOW) * (WIDTH - LEFT - RIGHT)


def draw(theme: Theme) -> str:
    bars: list[str] = []
    y = 24.0
    ibot, structural = (style["colour"] for style in method_styles(["ibot", "structural"]))
    colours = {"iBOT": ibot, "structural": structural}
    for group in groups():
        bars.append(text(LEFT, y + 5, group.title, theme.text, anchor="start", bold=True))
        y += ROW
        for name, values in group.rows:
            mean, colour = fmean(values), colours.get(name, untrained_style()["colour"])
            bars.append(text(LEFT - 14, y + 5, name, theme.text, anchor="end"))
            bars.append(line((across(LOW), y), (across(mean), y), colour, width=12))
            dot = f'cy="{y:g}" r="4" fill="{theme.box}" stroke="{colour}" stroke-width="2"'
            bars += [f'<circle cx="{across(value):.1f}" {dot}/>' for value in values]
            bars.append(text(across(max(values)) + 14, y + 5, f"{mean:.1f} %", theme.text, anchor="start"))
            y += ROW
        y += ROW / 3
    axis = []
    for percent in range(LOW, HIGH + 1, 10):
        axis.append(line((across(percent), 40), (across(percent), y - ROW / 2), theme.line, width=1))
        axis.append(text(across(percent), y + 4, str(percent), theme.faint, size=13))
    axis.append(text(LEFT - 14, y + 4, "k-NN on test images, %", theme.faint, size=13, anchor="end"))
    title = "k-NN accuracy on CIFAR-10 of iBOT and structural, raw pixels and random weights"
    return page(WIDTH, y + 16, title, [*axis, *bars])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "figures")
    folder = parser.parse_args().out
    for name, theme in THEMES.items():
        (folder / f"headline-{name}.svg").write_text(draw(theme), encoding="utf-8")


if __name__ == "__main__":
    main()
