"""Completion of verbs, options and settings in the shell."""

import argparse

from mrkd.cli.verbs import VERBS
from mrkd.cli.verbs.completion import argcomplete_module
from mrkd.config.keys import known_keys
from mrkd.config.overrides import recipe_names


def answer(parser: argparse.ArgumentParser) -> None:
    """Print the possible next words and end the process, as argcomplete requires."""
    for name, sub in _subparsers(parser).items():
        if VERBS[name].takes_settings:
            for key in known_keys():
                sub.add_argument(f"--{key}", help=argparse.SUPPRESS)
        for action in sub._actions:
            if action.dest == "recipe":
                action.choices = recipe_names()
    argcomplete_module().autocomplete(parser, print_suppressed=True)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [choices] = [action.choices for action in parser._actions if action.dest == "verb"]
    assert isinstance(choices, dict)
    return choices
