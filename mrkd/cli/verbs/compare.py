"""`mrkd compare`."""

import argparse
import shlex
from pathlib import Path

from mrkd.cli.options import add_settings_options, config_from, parse_seeds
from mrkd.cli.verb import Verb
from mrkd.config.sections.objective import canonical_method
from mrkd.errors import UserError
from mrkd.system.output import say


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
    print((Path(options.out) / "table.md").read_text(encoding="utf-8"))
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
