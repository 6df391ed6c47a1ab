"""An extension of griffe, which reads docstrings for the API pages.

griffe expects a blank line between the sections of a docstring; the docstrings of this project have none. Without this
extension `Returns`, `Raises` and `Source` would run together in one paragraph.
"""

import re
from typing import Any

from griffe import Extension, Object

_SECTION = re.compile(r"\n(?=(?:Args|Returns|Yields|Raises|Source):\n)")


class SeparatedSections(Extension):
    """Adds the blank lines."""

    def on_object(self, *, obj: Object, **_event: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
