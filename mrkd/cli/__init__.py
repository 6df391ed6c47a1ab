"""The command line: verbs, with any setting as an option `--section.field value`.

Each verb is a module of `mrkd.cli.verbs`. `main` parses the command line and runs the verb; an error is one line.
"""

import errno
import os
import sys
from collections.abc import Sequence

from mrkd.cli.options import load_config
from mrkd.cli.parser import make_parser, overview, refuse_unknown
from mrkd.cli.process import is_first_process
from mrkd.cli.verbs import VERBS
from mrkd.errors import Interrupted, UserError, check_platform, nearest
from mrkd.system.signals import sigterm_raises

__all__ = ["load_config", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 2 for bad input, 130 after SIGINT, 143 after SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(arguments)
    except UserError as error:
        print(f"mrkd: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of the pipe, such as `head`, has stopped. Without this, Python would fail again in its final flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        print(f"mrkd: {error.filename or 'writing failed'}: {reason}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        if is_first_process():
            print(f"mrkd: {stop}", file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("mrkd: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(arguments: list[str]) -> None:
    check_platform()
    parser = make_parser(VERBS)
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        from mrkd.cli.complete import answer

        answer(parser)
    if not arguments:
        print(overview(VERBS), end="")
        return
    if arguments[0] == "help":
        arguments = ["--help", *arguments[1:]]
    if not arguments[0].startswith("-") and arguments[0] not in VERBS:
        raise UserError(f"unknown verb {arguments[0]!r}: {nearest(arguments[0], VERBS)}")
    options, extra = parser.parse_known_args(arguments)
    if options.verb is None:
        raise UserError(f"expected a verb, got none: {', '.join(VERBS)}")
    verb = VERBS[options.verb]
    if not verb.takes_settings:
        refuse_unknown(extra)
    options.argv, options.extra = arguments, extra
    with sigterm_raises():
        verb.run(options)
