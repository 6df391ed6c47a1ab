"""Parts of the drawings for README and site: two themes, text, boxes, lines and arrows as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of one version."""

    text: str
    faint: str
    box: str
    line: str
    teacher: str
    student: str
    mask: str
    images: tuple[str, str, str, str]
    shape: str


THEMES = {
    "light": Theme(
        text="#1f2328",
        faint="#59636e",
        box="#f6f8fa",
        line="#d1d9e0",
        teacher="#0a66a8",
        student="#c2410c",
        mask="#b6bfc8",
        images=("#cfe8f7", "#fde3c4", "#d4efd9", "#ecdcf7"),
        shape="#39424c",
    ),
    "dark": Theme(
        text="#f0f6fc",
        faint="#9198a1",
        box="#151b23",
        line="#3d444d",
        teacher="#58b2f4",
        student="#ff9b5e",
        mask="#59636e",
        images=("#1f4a66", "#6b4a22", "#265c38", "#523a6e"),
        shape="#e6edf3",
    ),
}


def text(
    x: float, y: float, words: str, colour: str, *, size: int = 15, anchor: str = "middle", bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"{weight}>{words}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, line: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" fill="{fill}" stroke="{line}"/>'


def line(start: tuple[float, float], end: tuple[float, float], colour: str, *, width: float = 2, more: str = "") -> str:
    points = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {points} stroke="{colour}" stroke-width="{width:g}" {more}/>'


def arrow(start: tuple[float, float], end: tuple[float, float], colour: str, *, dashed: bool = False) -> str:
    dash = 'stroke-dasharray="5 4" ' if dashed else ""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    neck = (end[0] - 8 * math.cos(angle), end[1] - 8 * math.sin(angle))
    corners = [end] + [
        (end[0] - 10 * math.cos(angle + turn), end[1] - 10 * math.sin(angle + turn)) for turn in (0.45, -0.45)
    ]
    head = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return line(start, neck, colour, more=dash) + f'<polygon points="{head}" fill="{colour}"/>'


def page(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole drawing; `title` is read out by screen readers."""
    size = f'viewBox="0 0 {width:g} {height:g}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">'
    return "\n".join([opening, f"<title>{title}</title>", *parts, "</svg>", ""])
