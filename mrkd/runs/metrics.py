"""`metrics.jsonl`: read line by line, or thinned to what a page can show. Memory does not grow with the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrkd.errors import UserError
from mrkd.system.files import parse_json

_LONGEST_LINE = 2**20
"""Bytes."""
_HIGHEST_STEP = 2**53
"""The page counts with floats."""
Row = dict[str, Any]


def complete_lines(path: Path, offset: int = 0, number: int = 0) -> Iterator[tuple[int, bytes]]:
    """Each line with its number, from 1; a last line without its end is being written or was cut off, and left out.

    Args:
        path: of the file; nothing comes of one that does not exist.
        offset: bytes to leave out.
        number: lines in them.
    Raises:
        UserError: a line is longer than any that training writes.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        while (line := file.readline(_LONGEST_LINE)).endswith(b"\n"):
            number += 1
            yield number, line
        if len(line) == _LONGEST_LINE:
            raise _damaged(path, number + 1)


def parse_row(path: Path, number: int, line: bytes) -> Row:
    """The object in a line.

    Raises:
        UserError: it is damaged; names file and line.
    """
    try:
        row = parse_json(line)
    except ValueError:
        row = None
    step = row.get("step") if isinstance(row, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or not -1 < step < _HIGHEST_STEP:
        raise _damaged(path, number)
    assert isinstance(row, dict)
    return row


def _damaged(path: Path, number: int) -> UserError:
    return UserError(f"{path} line {number} must be a JSON object with a step: restore or remove the line")


class AddedLines:
    """The complete lines of a file that grows, each once.

    A resumed run writes the file anew, and people repair damaged ones: `rewritten` notices, and all lines come again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.forget()

    def forget(self) -> None:
        """Begin again with the first line."""
        self._identity: tuple[int, int] | None = None
        self._offset = self._number = 0
        self._last = b""

    def rewritten(self) -> bool:
        """Whether the file is not the one that was read; then it is read from its start."""
        identity = _identity(self.path)
        if identity == self._identity and self._last_line_stands():
            return False
        self.forget()
        self._identity = identity
        return True

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Each new line with its number, from 1."""
        for number, line in complete_lines(self.path, self._offset, self._number):
            self._number, self._offset, self._last = number, self._offset + len(line), line
            yield number, line

    def _last_line_stands(self) -> bool:
        if not self._last:
            return True
        with self.path.open("rb") as file:
            file.seek(self._offset - len(self._last))
            return file.read(len(self._last)) == self._last


class ThinnedMetrics:
    """The rows that a page shows; each `read` takes only what was written since the last one.

    Args:
        path: of the file.
        limit: at most twice as many rows of either kind are kept, evenly spaced: of all, and of those at which features
            were measured. The last row is always there.
    """

    def __init__(self, path: Path, limit: int = 500) -> None:
        self.path, self.limit = path, limit
        self._added = AddedLines(path)
        self._forget()

    def _forget(self) -> None:
        self._all, self._measured = _EverySo(self.limit), _EverySo(self.limit)
        self._last: tuple[int, bytes] | None = None

    def read(self) -> list[Row]:
        """The rows that are kept now, in order.

        Raises:
            UserError: a line is damaged.
        """
        if self._added.rewritten():
            self._forget()
        try:
            for number, line in self._added.read():
                self._take(number, line)
        except UserError:
            self._added.forget()  # whoever repairs the file may change what was read before
            raise
        last = [] if self._last is None else [(self._last[0], parse_row(self.path, *self._last))]
        rows = dict([*self._all.kept, *self._measured.kept, *last])
        return [rows[number] for number in sorted(rows)]

    def _take(self, number: int, line: bytes) -> None:
        if not (line.startswith(b"{") and line.rstrip().endswith(b"}")):
            raise _damaged(self.path, number)
        self._last = number, line
        kinds = [self._all, self._measured] if b'"rankme"' in line else [self._all]
        wanting = [kind for kind in kinds if kind.wants_next()]
        if wanting:
            row = parse_row(self.path, number, line)
            for kind in wanting:
                kind.keep(number, row)


def _identity(path: Path) -> tuple[int, int] | None:
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_dev, found.st_ino


class _EverySo:
    """Every k-th of what comes, with a k that doubles whenever too many are kept."""

    def __init__(self, limit: int) -> None:
        self.limit, self.stride, self.seen = limit, 1, 0
        self.kept: list[tuple[int, Row]] = []

    def wants_next(self) -> bool:
        self.seen += 1
        return (self.seen - 1) % self.stride == 0

    def keep(self, number: int, row: Row) -> None:
        self.kept.append((number, row))
        if len(self.kept) >= 2 * self.limit:
            self.stride *= 2
            self.kept = self.kept[::2]
