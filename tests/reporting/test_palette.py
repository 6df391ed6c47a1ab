"""Colours: one for each method everywhere, and text that can be read in both themes."""

import re

import pytest

from mrkd.config import ObjectiveConfig
from mrkd.objective.resolve import resolve_terms
from mrkd.reporting.link import page_file
from mrkd.reporting.palette import COLOURS, KNOWN, method_styles, untrained_style

TEXT = ("ink", "soft", "faint", "accent", "good", "bad")
GROUNDS = ("paper", "surface", "raised", "best")
READABLE = 4.5
"""Contrast of text, WCAG 2.1 level AA."""


def themes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r':root(?:\[data-theme="(\w+)"\])? \{(.*?)\}', page_file("style.css"), re.DOTALL)
    return {name or "light": dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for name, block in blocks[:2]}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_ground(theme):
    colours = themes()[theme]
    pairs = [(text, ground) for text in TEXT for ground in GROUNDS] + [("accent-ink", "accent")]
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: round(value, 2) for pair, value in low.items() if value < READABLE} == {}


@pytest.mark.parametrize("method", KNOWN)
def test_a_known_method_has_one_colour_on_every_page(method):
    alone = method_styles([method])
    assert method_styles(["random", "vicreg", "byol", *reversed(KNOWN)])[3 + KNOWN[::-1].index(method)] == alone[0]
    assert alone == [{"colour": COLOURS[KNOWN.index(method)], "dash": ""}]
    resolve_terms(ObjectiveConfig(method=method))  # raises where there is no such method


def test_no_two_methods_of_a_page_look_alike():
    methods = ["random", *KNOWN, "ibot, epochs 9", *(f"own-{number}" for number in range(24))]
    styles = [tuple(style.values()) for style in method_styles(methods)]
    assert len(set(styles)) == len(methods)
    assert styles[0] == tuple(untrained_style().values())


def test_an_unknown_method_takes_no_colour_of_a_known_one_while_others_are_left():
    colours = {style["colour"] for style in method_styles(["vicreg", "byol"])}
    assert not colours & set(COLOURS[: len(KNOWN)])
