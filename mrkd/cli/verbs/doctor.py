"""`mrkd doctor`."""

import argparse
from pathlib import Path

from mrkd.cli.verb import Verb
from mrkd.errors import UserError
from mrkd.system.output import say

MARKS = {"ok": "ok", "absent": "–", "wrong": "WRONG"}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="where runs would be written (default: current folder)")


def _run(options: argparse.Namespace) -> None:
    from mrkd.surveying.doctor import examine

    wrong = []
    for finding in examine(Path(options.folder)):
        say(f"{MARKS[finding.state]:6s}{finding.topic:18s}{finding.text}")
        if finding.state == "wrong":
            wrong.append(finding.topic)
    if wrong:
        raise UserError(f"not in order: {', '.join(wrong)}")


VERB = Verb(
    name="doctor",
    summary="show installed packages, devices, and the speed of the angle kernels",
    example="mrkd doctor",
    run=_run,
    options=_options,
)
