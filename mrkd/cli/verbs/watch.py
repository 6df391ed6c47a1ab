"""`mrkd watch`."""

import argparse

from mrkd.cli.verb import Verb


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", help="run directories, or the directory of a comparison")
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1; 0 selects a free one")


def _run(options: argparse.Namespace) -> None:
    from mrkd.reporting.watch import watch

    watch(options.runs, options.port)


VERB = Verb(
    name="watch",
    summary="show running jobs live in a browser, on this machine only",
    example="mrkd watch runs/a",
    run=_run,
    options=_options,
    ends_with_terminal=True,
)
