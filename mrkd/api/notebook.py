"""Small tables of HTML, which notebooks show in place of an object. Whatever comes from files is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from mrkd.system.output import printable


def facts_html(facts: Mapping[str, str]) -> str:
    """A table of two columns, without the facts that are empty."""
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(fact)}</td></tr>" for name, fact in facts.items() if fact)
    return f"<table>{rows}</table>"


def table_html(heading: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table with a row of headings and a line below it."""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heading)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    below = f"<p>{_text(caption)}</p>" if caption else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _text(text: str) -> str:
    return escape(printable(text))
