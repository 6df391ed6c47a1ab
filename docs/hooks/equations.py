r"""Equations of the site as MathML, which browsers draw without a script: pages write `$x$`, or `$$` around a block.

`pymdownx.arithmatex` marks equations in the HTML of a page; this hook converts them with latex2mathml.
"""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.+?)\\\]\s*</div>', re.DOTALL)


def mathml(latex: str, *, block: bool) -> str:
    """One equation as a `<math>` element.

    Raises:
        ValueError: latex2mathml does not know a command of the equation.
    """
    element = convert(latex.strip(), display="block" if block else "inline")
    unknown = re.search(r"\\[A-Za-z]+", element)
    if unknown:
        raise ValueError(f"latex2mathml does not know {unknown[0]} in the equation {latex.strip()}")
    return element


def on_page_content(html: str, **_event: Any) -> str:
    """Called by MkDocs with the HTML of each page."""
    html = _BLOCK.sub(lambda found: f'<div class="equation">{mathml(unescape(found[1]), block=True)}</div>', html)
    return _INLINE.sub(lambda found: mathml(unescape(found[1]), block=False), html)
