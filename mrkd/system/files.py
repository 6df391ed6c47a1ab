"""Files that are replaced in one step, or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mrkd.errors import UserError

TEMPORARY = ".mrkd-"
"""Start of the names of files that are being written."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{TEMPORARY}{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename = str(path)  # not the temporary one, which tells nobody anything
        raise


@contextlib.contextmanager
def placed_when_good(out: Path) -> Iterator[Path]:
    """A path of the same name, for a file or folder, that takes its place as `out` if nothing in the block raises.

    Whoever checks what was written sees it under its own name and ending, and nobody ever finds a file that failed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{TEMPORARY}{out.name}.") as folder:
        temporary = Path(folder) / out.name
        yield temporary
        files = [path for path in temporary.rglob("*") if path.is_file()] if temporary.is_dir() else [temporary]
        for path in files:
            with path.open("rb") as written:
                os.fsync(written.fileno())
        temporary.rename(out)
    _sync_folder(out.parent)


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut, or pruning could outlive the file it made room for.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, readable by people."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON from a regular file, or a UserError that names the file."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} must be a file, and is something else")
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole_number)


def parse_json(text: str | bytes) -> Any:
    """Any JSON. Whole numbers of more digits than a machine counts with become floats, which may be infinite.

    Raises:
        ValueError: it is none, not UTF-8, or nested too deeply.
    """
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
