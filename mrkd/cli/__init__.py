"""The command line: verbs, with any setting as an option `--section.field value`.

Each verb is a module of `mrkd.cli.verbs`. `main` parses the command line and runs the verb; an error is one line.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

from mrkd.cli.options import load_config
from mrkd.cli.parser import make_parser, overview, refuse_empty, refuse_unknown
from mrkd.cli.process import is_first_process
from mrkd.cli.verbs import VERBS
from mrkd.errors import Interrupted, UserError, check_platform, nearest
from mrkd.system.memory import lacks_memory
from mrkd.system.output import Output, lasting_output, printable
from mrkd.system.signals import hangup_ignored, sigterm_raises

__all__ = ["load_config", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 2 for bad input or lost output, 130 after SIGINT, 143 after SIGTERM."""
    with lasting_output() as output:
        try:
            status = _status(list(sys.argv[1:] if argv is None else argv))
        except SystemExit:  # --help and --version leave in this way
            if not _told_of_loss(output):
                raise
            return 2
        return 2 if _told_of_loss(output) and status == 0 else status


def _status(arguments: list[str]) -> int:
    try:
        _run(arguments)
    except UserError as error:
        _complain(error)
        return 2
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if lacks_memory(error):
            _complain(f"out of memory ({type(error).__name__}: {str(error)[:200]}): {_AGAINST_SHORT_MEMORY}")
            return 2
        if not isinstance(error, OSError):
            raise
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        _complain(f"{error.filename or 'writing failed'}: {reason}")
        return 2
    except Interrupted as stop:
        if is_first_process():
            _complain(stop)
        return stop.status
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    return 0


_AGAINST_SHORT_MEMORY = (
    "take a smaller batch or network, or give it more memory; a training goes on from its last checkpoint"
)


def _complain(reason: object) -> None:
    print(f"mrkd: {printable(reason)}", file=sys.stderr, flush=True)


def _told_of_loss(output: Output) -> bool:
    sys.stdout.flush()
    if output.lost is not None:
        reason = "the disk is full" if output.lost.errno == errno.ENOSPC else output.lost.strerror
        _complain(f"a part of the printed text was lost ({reason}); files are complete")
    return output.lost is not None


def _refuse_removed_folder() -> None:
    """Relative paths have no meaning in a folder that was removed, and torch's libraries cannot be loaded there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder has been removed: change to another one") from None


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
    refuse_empty(options)
    _refuse_removed_folder()
    verb = VERBS[options.verb]
    if not verb.takes_settings:
        refuse_unknown(extra)
    options.argv, options.extra = arguments, extra
    with sigterm_raises(), contextlib.nullcontext() if verb.ends_with_terminal else hangup_ignored():
        verb.run(options)
