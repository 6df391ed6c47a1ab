"""Files that are replaced in one step, or not at all."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mrkd.errors import UserError

TEMPORARY = ".mrkd-"
"""Start of the names of files and folders that are being written. Their writer holds a lock on them while it lives."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        remove_leftovers(path.parent, path.name)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{TEMPORARY}{path.name}.")
        temporary = Path(name)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: leftovers then stay
                _hold(handle)
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            os.close(handle)
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
    remove_leftovers(out.parent, out.name)
    with (
        tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{TEMPORARY}{out.name}.") as folder,
        _held(Path(folder), sure=False),
    ):
        temporary = Path(folder) / out.name
        yield temporary
        files = [path for path in temporary.rglob("*") if path.is_file()] if temporary.is_dir() else [temporary]
        for path in files:
            with path.open("rb") as written:
                os.fsync(written.fileno())
        temporary.rename(out)
    _sync_folder(out.parent)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what writers left in a folder when they were killed; what a living one is writing stays.

    Args:
        folder: is looked at, without the folders in it.
        name: of what was being written; everything when empty.
    """
    start = f"{TEMPORARY}{name}." if name else TEMPORARY
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(start)]
    for entry in found:
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            entry.unlink(missing_ok=True)  # nobody writes such things; opening a pipe would wait
            continue
        with contextlib.suppress(OSError), _held(entry):  # a lock held by a living writer is an OSError
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


@contextlib.contextmanager
def _held(path: Path, *, sure: bool = True) -> Iterator[None]:
    """Hold a file or folder; unless `sure`, where it cannot be locked, go on without."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.nullcontext() if sure else contextlib.suppress(OSError):
            _hold(handle)
        yield
    finally:
        os.close(handle)


def _hold(handle: int) -> None:
    """Lock an open file or folder until it is closed, or its process ends.

    Raises:
        BlockingIOError: another process, or another part of this one, holds it.
    """
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of the file system name `path`: writing, unlike opening, does not say what was written."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


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


def require_utf8(path: Path) -> None:
    """Refuse a name that is no UTF-8: libraries such as safetensors cannot open what it names.

    Raises:
        UserError: it is none.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path} must have a name in UTF-8, which safetensors needs: rename it") from None


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
