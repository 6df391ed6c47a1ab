"""Names as they are shown and compared: composed, stripped, on one line."""

import string
import unicodedata

_HARMFUL = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that break a line, a file or a terminal: control characters, lone surrogates, separators."""


_AROUND = string.whitespace + "\x85\xa0\u2028\u2029\u3000\u200b\u200e\u200f\u2060\ufeff"
"""Spaces and marks of no width, which spreadsheets and web pages leave around names."""


def clean(text: str) -> str:
    """A name in Unicode's composed form (NFC), without spaces and invisible marks around it, on one line."""
    return printable(unicodedata.normalize("NFC", text.strip(_AROUND)))


def printable(text: str) -> str:
    r"""The text with harmful characters escaped: a byte that is no UTF-8 as `\xe9`, a line break as `\n`."""
    return text if text.isprintable() else "".join(map(_shown, text))


def shortened(value: object, length: int = 60) -> str:
    """What a person is shown of any value, on one line."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4,300 digits
        text = f"a number of {value.bit_length():,} bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= length else f"{text[: length - 1]}…"


def listed(names: list[str], most: int = 3) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HARMFUL:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
