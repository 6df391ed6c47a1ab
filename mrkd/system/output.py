"""Print to the terminal: the work goes on if it closes, and control characters in names are escaped."""

import contextlib
import errno
import functools
import io
import os
import re
import select
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TextIO, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, marks that turn the direction of writing, and bytes that are no UTF-8."""
_READER_GONE = {errno.EPIPE, errno.EIO, errno.ECONNRESET}
"""A closed pipe, a closed terminal, a closed connection."""


def printable(text: object) -> str:
    r"""The text on one line, with everything that could steer a terminal or a page as `\x1b`, `\n` or `\u202e`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(text: str) -> None:
    """Print one line at once; file and class names in it are made printable."""
    print(printable(text), flush=True)


class Output:
    """The standard streams while a verb runs."""

    def __init__(self) -> None:
        self.lost: OSError | None = None
        """Why text was lost that somebody still waits for, such as a full disk under `> log.txt`."""


@contextlib.contextmanager
def lasting_output() -> Iterator[Output]:
    """Have standard output and error take every text without an error, for as long as the block runs.

    Once the reader is gone (`| head`, a closed terminal), text is dropped. Other errors of writing are kept in `lost`,
    and the work goes on: its results are in files.
    """
    output = Output()
    before = sys.stdout, sys.stderr
    _fill_closed_descriptors()
    sys.stdout, sys.stderr = (_lasting(stream, output) for stream in (sys.stdout, sys.stderr))
    try:
        yield output
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def with_lasting_output(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function with `lasting_output` around each call; a warning tells of text that was lost."""

    @functools.wraps(function)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        with lasting_output() as output:
            result = function(*arguments, **options)
        if output.lost is not None:
            warnings.warn(f"a part of the printed text was lost ({output.lost.strerror})", stacklevel=2)
        return result

    return call


def _fill_closed_descriptors() -> None:
    """Descriptors 0 to 2 that were closed at the start would be given to the next files, and be printed into."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _lasting(stream: TextIO | None, output: Output) -> TextIO:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # a notebook's has a descriptor too, which is that of its kernel's terminal
    try:
        descriptor = stream.fileno()
    except OSError:
        return stream  # text that is collected in memory
    with contextlib.suppress(OSError):  # text from before; whoever printed it hears of it at the next flush
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_LastingFile(descriptor, output)),
        encoding=stream.encoding,
        errors="backslashreplace",  # a terminal that lacks a character is no reason to stop
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _LastingFile(io.RawIOBase):
    """An open file descriptor whose writing never raises."""

    def __init__(self, descriptor: int, output: Output) -> None:
        self.descriptor, self.output = descriptor, output

    def fileno(self) -> int:
        """Its number."""
        return self.descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self.descriptor)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, content: Any, /) -> int:
        """All of the bytes, or none of them once the reader is gone."""
        left = memoryview(content).cast("B")
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:  # whoever shares the terminal has made it non-blocking
                select.select([], [self.descriptor], [])
            except OSError as error:
                self._give_up(error)
                break
        return len(content)

    def _give_up(self, error: OSError) -> None:
        if error.errno in _READER_GONE:
            # Child processes and libraries in C print there as well.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.descriptor)
            os.close(nowhere)
        elif self.output.lost is None:
            self.output.lost = error
