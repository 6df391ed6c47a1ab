"""`mrkd attend`."""

import argparse

from mrkd.cli.options import run_config
from mrkd.cli.verb import Verb
from mrkd.config import Config
from mrkd.system.output import say


def show_attention(path: str, config: Config) -> None:
    """Draw a run's attention maps and print where they are."""
    from mrkd.attention import attend

    say(f"attention: {attend(path, config)}")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")


def _run(options: argparse.Namespace) -> None:
    show_attention(options.run, run_config(options, "attend", ("data", "attention")))


VERB = Verb(
    name="attend",
    summary="draw a run's attention maps",
    example="mrkd attend runs/a",
    run=_run,
    options=_options,
    takes_settings=True,
)
