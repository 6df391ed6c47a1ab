"""`mrkd completion`."""

import argparse

from mrkd.cli.verb import Verb


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that will read the script")


def _run(options: argparse.Namespace) -> None:
    from mrkd.cli.complete import argcomplete_module

    print(argcomplete_module().shellcode(["mrkd"], shell=options.shell), end="")


VERB = Verb(
    name="completion",
    summary="print a script that completes verbs, options and settings in your shell",
    example='eval "$(mrkd completion bash)"',
    run=_run,
    options=_options,
)
