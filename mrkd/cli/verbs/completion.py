"""`mrkd completion`."""

import argparse
from types import ModuleType

from mrkd.cli.verb import Verb
from mrkd.errors import UserError


def argcomplete_module() -> ModuleType:
    """Import argcomplete, which only completion needs.

    Raises:
        UserError: argcomplete is not installed.
    """
    try:
        import argcomplete
    except ImportError:
        raise UserError(
            "the shell's completion needs a package that is not installed: pip install argcomplete"
        ) from None
    return argcomplete


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that will read the script")


def _run(options: argparse.Namespace) -> None:
    print(argcomplete_module().shellcode(["mrkd"], shell=options.shell), end="")


VERB = Verb(
    name="completion",
    summary="print a script that completes verbs, options and settings in your shell",
    example='eval "$(mrkd completion bash)"',
    run=_run,
    options=_options,
)
