"""`mrkd runs`."""

import argparse

from mrkd.cli.verb import Verb
from mrkd.system.output import say


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default="runs", help="folder to search, with all its subfolders (default: runs)"
    )


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mrkd.reporting.listing import list_runs, runs_table

    lines = list_runs(options.folder)
    if not lines:
        say(f"no runs in {options.folder}")
        return
    heading, *rows = runs_table(lines)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in heading:
        table.add_column(title, justify="right" if title in ("seed", "steps", "k-NN", "best") else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    # In a pipe, lines are not cut: the next program needs full names.
    (console if console.is_terminal else Console(width=1000)).print(table)


VERB = Verb(
    name="runs",
    summary="list the runs below a folder: method, data, progress, state, k-NN, verdict",
    example="mrkd runs runs",
    run=_run,
    options=_options,
)
