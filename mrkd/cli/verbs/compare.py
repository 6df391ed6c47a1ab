"""`mrkd compare`."""

import argparse
import shlex
from pathlib import Path

from mrkd.cli.options import add_settings_options, config_from
from mrkd.cli.verb import Verb
from mrkd.errors import UserError


def _options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, one_run=False)
    parser.add_argument("--methods", required=True, help="names joined by commas")
    parser.add_argument("--seeds", default="0", help="whole numbers joined by commas")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the CPU's threads")
    parser.add_argument("--out", required=True, help="a directory for runs, table and report")


def parse_seeds(text: str) -> list[int]:
    """`0,1,2` as numbers, or a UserError."""
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds must be whole numbers such as 0,1,2, got {text!r}") from None


def _run(options: argparse.Namespace) -> None:
    config = config_from(options)
    seeds = parse_seeds(options.seeds)
    from mrkd.comparison import compare

    command = "mrkd " + shlex.join(options.argv)
    compare(config, options.methods.split(","), seeds, options.out, jobs=options.jobs, command=command)
    print((Path(options.out) / "table.md").read_text(encoding="utf-8"))
    print(f"report: {Path(options.out) / 'report.html'}")


VERB = Verb(
    name="compare",
    summary="train and measure several methods under equal conditions, into one table",
    example="mrkd compare --recipe quick --data digits --methods random,ibot,rkd-d --seeds 0,1 --out runs/table",
    run=_run,
    options=_options,
    takes_settings=True,
)
