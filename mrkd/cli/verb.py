"""What a verb is. To add one: a module in `mrkd.cli.verbs` with a `VERB`, and a line in the table there."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


def no_options(parser: argparse.ArgumentParser) -> None:
    """For verbs without options of their own."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One word after `mrkd`.

    Heavy modules are imported inside `run`: help and mistakes must be answered at once.
    """

    name: str
    summary: str
    """One line without a full stop."""
    example: str
    """A command that a person would type."""
    run: Callable[[argparse.Namespace], None]
    """Does it. The options have `argv`, all words of the line, and `extra`, the settings among them."""
    options: Callable[[argparse.ArgumentParser], None] = no_options
    """Declares the verb's own options."""
    takes_settings: bool = False
    """Whether any setting is an option too, as in `--train.epochs 20`; they arrive in `extra`."""
    ends_with_terminal: bool = False
    """Whether it ends when its terminal is closed, instead of going on to its end without one."""
