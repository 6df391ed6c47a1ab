"""Write the report: one HTML file that needs no network and runs only its own script."""

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from mrkd.errors import UserError
from mrkd.reporting.content import page_content, to_json
from mrkd.reporting.link import link, page_file
from mrkd.reporting.read import read_runs
from mrkd.reporting.table import format_cell
from mrkd.system.files import write_text


def report(
    runs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    command: str = "",
) -> Path:
    """Write one HTML file about one or several runs, and its figures as PNG and SVG in a folder beside it.

    The folder is `figures` for `report.html` and `other-figures` for `other.html`, so that pages may share a folder.

    Args:
        runs: run directories, or directories of comparisons.
        out: the file; `report.html` inside the first run or comparison when None.
        command: the command line that reproduces the page.
    Returns:
        The path of the file.
    Raises:
        UserError: a directory contains no run, or `out` is not an HTML file or exists and is not a report.
    """
    given = [Path(runs)] if isinstance(runs, str | os.PathLike) else [Path(path) for path in runs]
    if not given:
        raise UserError("report needs at least one run")
    records = read_runs(given)
    target = Path(out) if out is not None else given[0] / "report.html"
    _check_target(target)
    content = page_content(records, command or "mrkd report " + " ".join(map(str, given)))
    write_text(target, render(content))
    from mrkd.reporting.figures import write_figures  # matplotlib is slow to import, and a live page does not need it

    write_figures(records, target.parent / ("figures" if target.stem == "report" else f"{target.stem}-figures"))
    return target


def _check_target(target: Path) -> None:
    """Raise UserError unless the target is new or an earlier report."""
    if target.suffix not in (".html", ".htm"):
        raise UserError(f"a report is written to a file ending in .html, got {target}")
    if target.is_file():
        with target.open("rb") as file:
            if b"<title>mrkd" not in file.read(4000):
                raise UserError(f"{target} exists and is not a report of mrkd: choose another --out")
    elif target.exists():
        raise UserError(f"{target} is not a file: choose another --out")


def render(content: dict[str, Any]) -> str:
    """The HTML of the page for content from `page_content`."""
    script = Markup(link())
    environment = Environment(loader=PackageLoader("mrkd.reporting", "page"), autoescape=select_autoescape())
    return environment.get_template("page.html").render(
        style=Markup(page_file("style.css")),
        script=script,
        # The content security policy allows this script only.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        connect=Markup("'self'" if content["live"] else "'none'"),
        content=Markup(to_json(content)),
        opening=content["opening"],
        table=content["table"],
        format_cell=format_cell,
        verdicts=[(run["name"], run["verdict"]["sentence"]) for run in content["runs"]],
    )
