"""Colours and dashes of methods, the same in all views and figures."""

from collections.abc import Sequence

# Paul Tol's 'vibrant' scheme, which colour-blind people can distinguish, on light and dark backgrounds; then two more.
METHODS = ("#0077bb", "#ee7733", "#009988", "#ee3377", "#33bbee", "#cc3311", "#9467bd", "#8c6d31")
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
    """Colour and dash of each method, in order."""
    styles, trained = [], 0
    for method in methods:
        if method == "random":
            styles.append(untrained_style())
        else:
            dash = DASHES[trained // len(METHODS) % len(DASHES)]
            styles.append({"colour": METHODS[trained % len(METHODS)], "dash": dash})
            trained += 1
    return styles


def untrained_style() -> dict[str, str]:
    """Colour and dash of what nothing was learnt for."""
    return {"colour": UNTRAINED[0], "dash": UNTRAINED[1]}
