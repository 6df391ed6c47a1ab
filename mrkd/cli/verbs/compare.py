"""`mrkd compare`."""

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrkd.cli.options import add_settings_options, config_from, parse_seeds
from mrkd.cli.verb import Verb
from mrkd.config.sections.objective import canonical_method
from mrkd.errors import UserError
from mrkd.system.output import printable, say

LEFT_OUT = ("linear_100_acc1", "peak_memory_mib")
"""Main columns of the report for which a terminal has no room."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, one_run=False)
    parser.add_argument("--methods", required=True, help="names joined by commas")
    parser.add_argument("--seeds", default="0", help="whole numbers joined by commas (default %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time, which share the threads (default %(default)s)"
    )
    parser.add_argument(
        "--tuned", metavar="SWEEP", help="folder or sweep.json of a sweep, to use its best settings for each method"
    )
    parser.add_argument(
        "--no-references",
        action="store_true",
        help="leave out the references: raw pixels, and random weights if --methods does not name random",
    )
    parser.add_argument("--out", required=True, help="directory for runs, table and report")


def show_table(table: Mapping[str, Any]) -> None:
    """Print who leads, then the main columns of a comparison's table; `table.md` and the report have all of them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mrkd.reporting.table import columns_of, format_cell

    say(table["conclusion"])
    columns = [column for column in columns_of(table["rows"]) if column.primary and column.key not in LEFT_OUT]
    shown = Table(box=None, pad_edge=False)
    for heading in ("method", *(column.title for column in columns)):
        shown.add_column(heading, justify="left" if heading == "method" else "right")
    for row in table["rows"]:
        cells = [format_cell(row.get(column.key), column.decimals) for column in columns]
        shown.add_row(Text(printable(row["method"])), *cells)
    console = Console(highlight=False)
    # In a pipe, lines are not cut: the next program needs full names.
    (console if console.is_terminal else Console(highlight=False, width=1000)).print(shown)


def _run(options: argparse.Namespace) -> None:
    config = config_from(options)
    seeds = parse_seeds(options.seeds)
    methods = [canonical_method(name) for name in options.methods.split(",")]
    from mrkd.studies.compare import compare

    tuned = None
    if options.tuned:
        from mrkd.studies.sweep_results import tuned_settings

        tuned = tuned_settings(options.tuned, methods)
    command = "mrkd " + shlex.join(options.argv)
    table = compare(
        config,
        methods,
        seeds,
        options.out,
        tuned=tuned,
        jobs=options.jobs,
        references=not options.no_references,
        command=command,
    )
    show_table(table)
    say(f"all columns: {Path(options.out) / 'table.md'}")
    say(f"report: {Path(options.out) / 'report.html'}")
    if failures := table["failures"]:
        name, reason = next(iter(failures.items()))
        raise UserError(
            f"{len(failures)} of {len(failures) + sum(len(row['seeds']) for row in table['rows'])} runs failed, "
            f"{name}: {reason}; the same command tries again"
        )


VERB = Verb(
    name="compare",
    summary="train and evaluate several methods under equal conditions, and write a table",
    example="mrkd compare --recipe quick --data digits --methods random,ibot,rkd-d --seeds 0,1 --out runs/table",
    run=_run,
    options=_options,
    takes_settings=True,
)
