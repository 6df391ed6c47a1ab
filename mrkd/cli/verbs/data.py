"""`mrkd data`."""

import argparse
from pathlib import Path

from mrkd.cli.options import add_settings_options, config_from
from mrkd.cli.verb import Verb
from mrkd.config.source import source_name
from mrkd.errors import UserError
from mrkd.system.output import say


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", help="the images, as for --data")
    add_settings_options(parser)
    parser.add_argument("--out", help="folder for data.json, images.png and views.png (default runs/data-NAME)")


def _run(options: argparse.Namespace) -> None:
    if options.source is not None:
        if getattr(options, "data.source") is not None:
            raise UserError("name the images once: mrkd data PATH")
        setattr(options, "data.source", options.source)
    config = config_from(options)
    from mrkd.surveying import survey
    from mrkd.surveying.facts import describe

    out = Path(options.out or Path("runs") / f"data-{source_name(config.data.source)}")
    for line in describe(survey(config, out)):
        say(line)
    say(f"pictures    {out / 'images.png'}, {out / 'views.png'}; all of this: {out / 'data.json'}")


VERB = Verb(
    name="data",
    summary="describe a source of images, and show the views for training",
    example="mrkd data PATH/photographs --size 96",
    run=_run,
    options=_options,
    takes_settings=True,
)
