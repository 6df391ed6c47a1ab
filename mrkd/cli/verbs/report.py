"""`mrkd report`."""

import argparse

from mrkd.cli.verb import Verb
from mrkd.config import Config
from mrkd.system.output import say


def show_report(path: str, config: Config) -> None:
    """Write the page about one run and print where it is."""
    from mrkd.reporting import report

    say(f"report: {report(path)}")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", help="run directories, or the directory of a comparison")
    parser.add_argument("--out", help="the file (default: report.html in the first directory)")


def _run(options: argparse.Namespace) -> None:
    from mrkd.reporting import report

    say(f"report: {report(options.runs, options.out)}")


VERB = Verb(
    name="report",
    summary="write one HTML page about one or several runs",
    example="mrkd report runs/a",
    run=_run,
    options=_options,
)
