"""Draw the headline result for README and site from the committed JSON: docs/figures/headline-*.svg.

    python experiments/headline_figure.py

k-NN on test images of iBOT and structural, beside raw pixels and random weights; one dot for each seed.
"""

import argparse
from pathlib import Path
from statistics import fmean

from svg import THEMES, Theme, line, page, text
from tables.headline import Group, groups

from mrkd.reporting.palette import method_styles, untrained_style

WIDTH, ROW, LEFT, RIGHT = 860, 34, 240, 80
LOW, HIGH = 0, 80
"""Ends of the axis, in percent."""


def rows_of(group: Group) -> list[tuple[str, list[float]]]:
    """Method and its values, in the order of the bars."""
    named = [
        ("random weights", group.random),
        ("raw pixels", [group.pixels]),
        ("iBOT", group.ibot),
        ("structural", group.structural),
    ]
    return [(name, values) for name, values in named if values]


def across(percent: float) -> float:
    return LEFT + (percent - LOW) / (HIGH - LOW) * (WIDTH - LEFT - RIGHT)


def draw(theme: Theme) -> str:
    bars: list[str] = []
    y = 24.0
    ibot, structural = (style["colour"] for style in method_styles(["ibot", "structural"]))
    colours = {"iBOT": ibot, "structural": structural}
    for group in groups():
        bars.append(text(LEFT, y + 5, f"{group.images} · {group.training}", theme.text, anchor="start", bold=True))
        y += ROW
        for name, values in rows_of(group):
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
    title = "k-NN accuracy of iBOT and structural, raw pixels and random weights, on CIFAR-10 and Imagenette"
    return page(WIDTH, y + 16, title, [*axis, *bars])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "figures")
    folder = parser.parse_args().out
    for name, theme in THEMES.items():
        (folder / f"headline-{name}.svg").write_text(draw(theme), encoding="utf-8")


if __name__ == "__main__":
    main()
