"""`mrkd compare`."""

import argparse
import shlex
from pathlib import Path

from mrkd.cli.options import add_settings_options, config_from, parse_seeds
from mrkd.cli.verb import Verb


def _options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, one_run=False)
    parser.add_argument("--methods", required=True, help="names joined by commas")
    parser.add_argument("--seeds", default="0", help="whole numbers joined by commas")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the CPU's threads")
    parser.add_argument("--tuned", metavar="SWEEP", help="a sweep's folder or sweep.json: its best settings for each")
    parser.add_argument(
        "--no-references", action="store_true", help="leave out raw pixels, and random where it is not named"
    )
    parser.add_argument("--out", required=True, help="a directory for runs, table and report")


def _run(options: argparse.Namespace) -> None:
    config = config_from(options)
    seeds = parse_seeds(options.seeds)
    methods = [name.strip() for name in options.methods.split(",")]
    from mrkd.studies.compare import compare

    tuned = None
    if options.tuned:
        from mrkd.studies.sweep_results import tuned_settings

        tuned = tuned_settings(options.tuned, methods)
    command = "mrkd " + shlex.join(options.argv)
    compare(
        config,
        methods,
        seeds,
        options.out,
        tuned=tuned,
        jobs=options.jobs,
        references=not options.no_references,
        command=command,
    )
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
