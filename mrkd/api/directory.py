"""An object that stands for a directory and can be used wherever its path can."""

import os
from functools import total_ordering
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any


@total_ordering
class Directory(os.PathLike[str]):
    """A directory: `open`, `Path`, `str`, `/`, `==` and `sorted` take it for its path.

    Methods of a path, such as `exists()`, work too; type checkers know them as `directory.path.exists()`.

    Args:
        path: of the directory.
    """

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str | os.PathLike[str]) -> Path:
        return self.path / name

    def __eq__(self, other: object) -> bool:
        return self.path == Path(other) if isinstance(other, Directory | PurePath) else NotImplemented

    def __lt__(self, other: os.PathLike[str]) -> bool:
        return self.path < Path(other) if isinstance(other, Directory | PurePath) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    if not TYPE_CHECKING:  # otherwise a type checker would accept every misspelled name

        def __getattr__(self, name: str) -> Any:
            """What a path can do, for programs that expect one."""
            # `path` itself is missing while an object is being unpickled.
            if not name.startswith("_") and name != "path" and hasattr(self.path, name):
                return getattr(self.path, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
