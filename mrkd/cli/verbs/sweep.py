"""`mrkd sweep`."""

import argparse
import shlex
from pathlib import Path

from mrkd.cli.options import add_settings_options, config_from
from mrkd.cli.verb import Verb
from mrkd.system.output import say


def _options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, one_run=False)
    parser.add_argument("--methods", required=True, help="names joined by commas")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        help="LOW..HIGH, LOW..HIGH:log or VALUE,VALUE,...; may be repeated",
    )
    parser.add_argument("--space", metavar="FILE", help="the search space as a YAML file: lists, or {low: , high: }")
    parser.add_argument("--trials", type=int, default=10, help="number of trials of each method (default 10)")
    parser.add_argument("--jobs", type=int, default=1, help="number of trials at a time (default %(default)s)")
    parser.add_argument("--no-pruning", action="store_true", help="train all trials to the end, without pruning")
    parser.add_argument("--seed", dest="train.seed", metavar="SEED", help="seed of the proposals and of all trainings")
    parser.add_argument("--out", required=True, help="directory for the study and its trials")


def _run(options: argparse.Namespace) -> None:
    config = config_from(options)
    from mrkd.studies.space import parse_space, read_space
    from mrkd.studies.sweep import TABLE, sweep

    space = {**(read_space(options.space) if options.space else {}), **parse_space(options.vary)}
    sweep(
        config,
        [name.strip() for name in options.methods.split(",")],
        space,
        options.out,
        trials=options.trials,
        jobs=options.jobs,
        prune=not options.no_pruning,
        command="mrkd " + shlex.join(options.argv),
    )
    print((Path(options.out) / TABLE).read_text(encoding="utf-8"))
    say(f"best settings: {Path(options.out)}/best-METHOD.yaml, for 'mrkd pretrain --config' or 'mrkd compare --tuned'")


VERB = Verb(
    name="sweep",
    summary="tune methods with equal numbers of trials, by k-NN on held-out training images",
    example=(
        "mrkd sweep --recipe quick --data digits --methods ibot,rkd-d "
        "--vary optim.learning_rate=0.004..0.04:log --trials 8 --out runs/sweep"
    ),
    run=_run,
    options=_options,
    takes_settings=True,
)
