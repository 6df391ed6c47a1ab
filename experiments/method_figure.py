"""Draw the picture of the method for README and site, in a light and a dark version: docs/figures/method-*.svg.

    python experiments/method_figure.py

Four images are seen by student and teacher. iBOT compares the two outputs of each image. RKD compares the distances and
angles between the outputs of different images.
"""

import argparse
import math
from pathlib import Path

from svg import THEMES, Theme, arrow, box, line, page, text

WIDTH, HEIGHT = 1120, 470
TILE, PATCHES = 76, 4
"""Side of a drawn image in pixels, and its patches in a row."""
MASKED = ({1, 2, 6, 11, 12}, {0, 5, 6, 9, 15}, {3, 4, 8, 9, 13}, {2, 5, 7, 8, 14})
"""Masked patches of the student's view of each image, row by row."""
TEACHER_POINTS = ((40.0, 22.0), (168.0, 40.0), (122.0, 118.0), (20.0, 112.0))
STUDENT_POINTS = ((52.0, 40.0), (150.0, 26.0), (140.0, 112.0), (34.0, 96.0))
"""Outputs of the four images, drawn in two dimensions."""


def image(x: float, y: float, number: int, theme: Theme, masked: frozenset[int] | set[int] = frozenset()) -> str:
    """One drawn image with its grid of patches; masked patches are covered."""
    middle, side = TILE / 2, TILE / PATCHES
    shapes = (
        f'<circle cx="{middle}" cy="{middle}" r="23" fill="{theme.shape}"/>',
        f'<rect x="{middle - 21}" y="{middle - 21}" width="42" height="42" rx="5" fill="{theme.shape}"/>',
        f'<polygon points="{middle},{middle - 26} {middle + 27},{middle + 21} {middle - 27},{middle + 21}" '
        f'fill="{theme.shape}"/>',
        f'<path d="M{middle - 25} {middle + 8}a25 25 0 0 1 50 0z" fill="{theme.shape}"/>',
    )
    parts = [f'<rect width="{TILE}" height="{TILE}" fill="{theme.images[number]}"/>', shapes[number]]
    for patch in sorted(masked):
        row, column = divmod(patch, PATCHES)
        parts.append(f'<rect x="{column * side}" y="{row * side}" width="{side}" height="{side}" fill="{theme.mask}"/>')
    for cut in range(1, PATCHES):
        parts.append(line((cut * side, 0), (cut * side, TILE), theme.box, width=1))
        parts.append(line((0, cut * side), (TILE, cut * side), theme.box, width=1))
    return f'<g transform="translate({x:g} {y:g})">{"".join(parts)}</g>'


def points(origin: tuple[float, float], student: bool) -> list[tuple[float, float]]:
    drawn = STUDENT_POINTS if student else TEACHER_POINTS
    return [(origin[0] + x, origin[1] + y) for x, y in drawn]


def dots(places: list[tuple[float, float]], letter: str, colour: str, theme: Theme) -> str:
    parts = []
    for number, (x, y) in enumerate(places, 1):
        parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="13" fill="{colour}"/>')
        label = f'{letter}<tspan font-size="9" dy="3">{number}</tspan>'
        parts.append(text(x, y + 4, label, theme.box, size=13, bold=True))
    return "".join(parts)


def relations(places: list[tuple[float, float]], colour: str) -> str:
    """All distances between four points, and one angle."""
    pairs = [(one, two) for one in range(4) for two in range(one + 1, 4)]
    parts = [line(places[one], places[two], colour, width=1.6) for one, two in pairs]
    vertex, radius = places[3], 34.0
    ends = []
    for other in (places[0], places[1]):
        angle = math.atan2(other[1] - vertex[1], other[0] - vertex[0])
        ends.append((vertex[0] + radius * math.cos(angle), vertex[1] + radius * math.sin(angle)))
    arc = f"M{ends[0][0]:.1f} {ends[0][1]:.1f}A{radius} {radius} 0 0 1 {ends[1][0]:.1f} {ends[1][1]:.1f}"
    return "".join(parts) + f'<path d="{arc}" fill="none" stroke="{colour}" stroke-width="4"/>'


def networks(theme: Theme) -> list[str]:
    """The left half: images, student and teacher."""
    parts = [text(186, 30, "two random views of each image", theme.faint)]
    for number in range(4):
        x = 20 + number * 85
        parts += [image(x, 60, number, theme), image(x, 334, number, theme, MASKED[number])]
    parts += [
        text(186, 158, "full view", theme.faint),
        text(186, 432, "partly masked view", theme.faint),
        box(420, 56, 128, 84, theme.box, theme.teacher),
        text(484, 94, "teacher", theme.teacher, size=18, bold=True),
        text(484, 117, "ViT, no gradient", theme.faint, size=13),
        box(420, 330, 128, 84, theme.box, theme.student),
        text(484, 368, "student", theme.student, size=18, bold=True),
        text(484, 391, "ViT", theme.faint, size=13),
        arrow((366, 98), (414, 98), theme.teacher),
        arrow((366, 372), (414, 372), theme.student),
        arrow((484, 326), (484, 146), theme.faint, dashed=True),
        text(476, 226, "moving average", theme.faint, size=13, anchor="end"),
        text(476, 244, "of its weights (EMA)", theme.faint, size=13, anchor="end"),
        arrow((552, 98), (600, 98), theme.teacher),
        arrow((552, 372), (600, 372), theme.student),
    ]
    return parts


def losses(theme: Theme) -> list[str]:
    """The right half: what iBOT compares, and what RKD compares."""
    parts: list[str] = []
    panels = ((612, "iBOT", "each output on its own"), (872, "RKD", "the relations between outputs"))
    for x, name, meaning in panels:
        parts += [
            box(x, 14, 236, 408, theme.box, theme.line),
            text(x + 118, 40, name, theme.text, size=18, bold=True),
            text(x + 118, 446, meaning, theme.faint),
        ]
    teacher, student = points((624, 62), student=False), points((624, 282), student=True)
    parts += [arrow((s[0], s[1] - 13), (t[0], t[1] + 15), theme.faint) for s, t in zip(student, teacher, strict=True)]
    parts += [dots(teacher, "t", theme.teacher, theme), dots(student, "s", theme.student, theme)]
    teacher, student = points((886, 62), student=False), points((886, 282), student=True)
    parts += [relations(teacher, theme.teacher), relations(student, theme.student)]
    parts += [dots(teacher, "t", theme.teacher, theme), dots(student, "s", theme.student, theme)]
    parts += [
        arrow((908, 272), (908, 206), theme.faint),
        text(1000, 226, "same distances (RKD-D)", theme.text, size=13),
        text(1000, 246, "same angles (RKD-A)", theme.text, size=13),
        text(1000, 266, "same softmax rows", theme.text, size=13),
    ]
    return parts


def draw(theme: Theme) -> str:
    title = "A student sees masked views, an EMA teacher full views; iBOT matches outputs, RKD their relations"
    return page(WIDTH, HEIGHT, title, [*networks(theme), *losses(theme)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "figures")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, theme in THEMES.items():
        (folder / f"method-{name}.svg").write_text(draw(theme), encoding="utf-8")


if __name__ == "__main__":
    main()
