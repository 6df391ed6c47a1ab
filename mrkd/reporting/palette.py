"""Colours and dashes of methods, the same in all views and figures."""

from collections.abc import Sequence

# Paul Tol's 'vibrant' scheme, which colour-blind people can distinguish, on light and dark backgrounds; then two more.
COLOURS = ("#0077bb", "#ee7733", "#009988", "#ee3377", "#33bbee", "#cc3311", "#9467bd", "#8c6d31")
KNOWN = ("ibot", "structural", "rkd-d", "rkd-a", "ibot+structural", "simclr")
"""Methods with a colour of their own, the first of `COLOURS`, which they have on every page and in every figure."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Dashes as in SVG, in pixels; the next one is used each time all colours have been used."""
UNTRAINED = ("#8b939c", "1.5 3")
"""Random weights and raw pixels are grey and dotted."""
CLASSES = (
    "#4269d0",
    "#efb118",
    "#ff725c",
    "#6cc5b0",
    "#3ca951",
    "#ff8ab7",
    "#a463f2",
    "#97bbf5",
    "#9c6b4e",
    "#9498a0",
)


def method_styles(methods: Sequence[str]) -> list[dict[str, str]]:
    """Colour and dash of each method, in order.

    The known ones always have the same. There are more methods than colours that can be told apart, so each of the
    others takes a style that nobody on this page has, those of absent known methods last. The first of
    `rkd-d, epochs 4` and `rkd-d, epochs 9` counts as `rkd-d`.
    """
    styles = {method: place for method in methods if (place := _own_place(method, methods)) is not None}
    places = [*range(len(KNOWN), len(COLOURS)), *range(len(KNOWN)), *range(len(COLOURS), len(COLOURS) * len(DASHES))]
    free = iter([place for place in places if place not in styles.values()])
    for method in methods:
        if method != "random" and method not in styles:
            styles[method] = next(free, 0)
    return [untrained_style() if method == "random" else _style(styles[method]) for method in methods]


def _own_place(method: str, methods: Sequence[str]) -> int | None:
    """Place of the style that belongs to a method; None if it has none or another of the same name has it."""
    name = method.partition(",")[0]
    first = next(other for other in methods if other.partition(",")[0] == name)
    return KNOWN.index(name) if name in KNOWN and first == method else None


def _style(place: int) -> dict[str, str]:
    dash = DASHES[place // len(COLOURS) % len(DASHES)]
    return {"colour": COLOURS[place % len(COLOURS)], "dash": dash}


def untrained_style() -> dict[str, str]:
    """Colour and dash of what nothing was learnt for."""
    return {"colour": UNTRAINED[0], "dash": UNTRAINED[1]}
