"""The lock of a run directory: one writer, who notices when the directory is no longer the one that was locked."""

import fcntl
import os
import stat
from pathlib import Path

from mrkd.errors import UserError

LOCK = "run.lock"


class DirectoryLock:
    """Holds `run.lock` in a directory until `release`.

    The kernel drops the lock with the process, so a crash leaves no stale one.

    Raises:
        UserError: another process holds it, or something else than a file has its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock = self._acquire()
        except BaseException:
            os.close(self._folder)
            raise

    def _acquire(self) -> int:
        while True:
            lock = _open(self.path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise UserError(f"another process is writing {self.folder}") from None
            if _leads_to(self.path, lock):
                return lock
            os.close(lock)  # the former holder removed this file between our opening and our locking

    @property
    def in_place(self) -> bool:
        """Whether the directory of this name is still the one that was locked, and its lock this one."""
        return _leads_to(self.folder, self._folder) and _leads_to(self.path, self._lock)

    def check(self) -> None:
        """Refuse to write into another directory that has taken the name of this one; a removed lock is taken again.

        Raises:
            FileNotFoundError: the directory has gone.
            UserError: there is another one in its place, or another process has taken the lock.
        """
        os.stat(self.folder)
        if not _leads_to(self.folder, self._folder):
            raise UserError(
                f"{self.folder} is another directory now: the one that this process wrote was moved, and goes on from "
                "its last checkpoint with the same command where it is"
            )
        if not _leads_to(self.path, self._lock):
            lock = self._acquire()
            os.close(self._lock)
            self._lock = lock

    def release(self) -> None:
        """Let go of it; a lock in another directory that has taken the name stays."""
        if self.in_place:
            self.path.unlink(missing_ok=True)
        os.close(self._lock)
        os.close(self._folder)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of this directory."""
    try:
        descriptor = _open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, and let go of at once: nobody who wants to write has to wait for one who looks.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(path: Path, how: int) -> int:
    """Open a lock without following links, waiting for a pipe's other end, or changing what is in it."""
    try:
        descriptor = os.open(path, how | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if path.is_symlink() or path.is_dir() or (path.exists() and not path.is_file()):
            raise _no_lock(path) from None
        raise error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return descriptor


def _no_lock(path: Path) -> UserError:
    return UserError(f"{path} must be a plain file that holds the lock, and is something else: remove it")


def _leads_to(path: Path, descriptor: int) -> bool:
    """Whether the path leads to the open file itself."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
