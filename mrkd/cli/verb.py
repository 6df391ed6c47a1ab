"""The interface of verbs. To add one: a module in `mrkd.cli.verbs` with a `VERB`, and a line in the table there."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


def no_options(parser: argparse.ArgumentParser) -> None:
    """Add no options, for verbs that have none."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A subcommand of `mrkd`.

    Heavy modules are imported inside `run`, so that help and error messages appear at once.
    """

    name: str
    summary: str
    """One line without a full stop."""
    example: str
    """An example command line."""
    run: Callable[[argparse.Namespace], None]
    """Runs the verb. The options contain `argv`, all words of the command line, and `extra`, its settings."""
    options: Callable[[argparse.ArgumentParser], None] = no_options
    """Adds the options of the verb to a parser."""
    takes_settings: bool = False
    """Whether any setting is an option too, as in `--train.epochs 20`; they arrive in `extra`."""
    ends_with_terminal: bool = False
    """Whether it ends when its terminal is closed, instead of going on to its end without one."""
