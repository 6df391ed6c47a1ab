"""`mrkd pretrain`."""

import argparse

from mrkd.cli.options import add_settings_options, config_from, resumed_config
from mrkd.cli.process import is_first_process
from mrkd.cli.verb import Verb
from mrkd.cli.verbs.attend import show_attention
from mrkd.cli.verbs.evaluate import show_evaluation
from mrkd.cli.verbs.report import show_report
from mrkd.errors import UserError
from mrkd.system.output import say

STEPS = {"evaluate": show_evaluation, "attend": show_attention, "report": show_report}


def _options(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", help="directory for the run: new, or with an unfinished run of the same settings")
    place.add_argument("--resume", metavar="RUN", help="resume an unfinished run with its own settings")
    parser.add_argument("--profile", action="store_true", help="print the time of each part of a step")
    parser.add_argument("--then", help="verbs to run afterwards, in this order: evaluate,attend,report")


def _run(options: argparse.Namespace) -> None:
    steps = [step.strip() for step in (options.then or "").split(",") if step.strip()]
    for step in steps:
        if step not in STEPS:
            raise UserError(f"--then takes evaluate, attend and report, got {step!r}")
    config = config_from(options) if options.resume is None else resumed_config(options, options.resume)
    from mrkd.train.pretrain import pretrain

    path = pretrain(config, options.out or options.resume, profile=options.profile)
    if not is_first_process():
        return
    say(f"run: {path}")
    for step in steps:
        STEPS[step](str(path), config)


VERB = Verb(
    name="pretrain",
    summary="train one method without labels",
    example="mrkd pretrain --recipe quick --data digits --method rkd-d --out runs/a",
    run=_run,
    options=_options,
    takes_settings=True,
)
