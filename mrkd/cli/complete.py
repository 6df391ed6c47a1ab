"""What the shell's Tab key gets to see."""

import argparse
from types import ModuleType

from mrkd.cli.verbs import VERBS
from mrkd.config.keys import known_keys
from mrkd.config.overrides import recipe_names
from mrkd.errors import UserError


def argcomplete_module() -> ModuleType:
    """The package that talks with the shells; everything else works without it.

    Raises:
        UserError: it is not installed.
    """
    try:
        import argcomplete
    except ImportError:
        raise UserError(
            "the shell's completion needs a package that is not installed: pip install argcomplete"
        ) from None
    return argcomplete


def answer(parser: argparse.ArgumentParser) -> None:
    """Print the words that may come next, and end the process, as argcomplete asks for."""
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
