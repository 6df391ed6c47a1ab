"""Names of image sources: an embedded set, a path, `hub:owner/name`, or `memory:` and a digest; suffixes of files."""

import os
import re
from pathlib import Path

EMBEDDED = ("digits", "shapes")
"""Sets inside the installed packages; their names come before paths."""
HUB = "hub:"
"""Start of a data set of the Hugging Face hub."""
MEMORY = "memory:"
"""Start of the name of images that were given in Python, which a digest of their content follows."""
HUB_NAME = re.compile(r"[\w.-]+|[\w.-]+/[\w.-]+(:[\w.-]+)?")
"""`name`, `owner/name` or `owner/name:configuration`."""
_FILE_SUFFIXES = (".parquet", ".tar", ".csv", ".tsv", ".zip", ".gz", ".tgz")


def absolute_source(source: str) -> str:
    """The same source, written so that it means the same in every folder. Nothing is read and nothing refused.

    A path becomes absolute, without links being followed. `owner/name` gets `hub:` in front where there is no such
    path and none was meant. A word that is nothing stays as it is, for whoever looks for the images to refuse.
    """
    if source in EMBEDDED or source.startswith((HUB, MEMORY)):
        return source
    if source.startswith("hf:"):
        return HUB + source.removeprefix("hf:")
    if os.path.exists(os.path.expanduser(source)) or _is_path(source):
        return _absolute(source)
    return f"{HUB}{source}" if "/" in source and HUB_NAME.fullmatch(source) else source


def stored_source(source: str) -> str:
    """A source that a run has stored: older versions kept paths as they were typed.

    What they called `owner/name` may have been either; a path is supposed, so that the hub is never asked for it.
    """
    if source in EMBEDDED or source.startswith((HUB, MEMORY, "hf:")):
        return absolute_source(source)
    return _absolute(source)


def source_name(source: str) -> str:
    """A short name for tables: the last part of a path, or of the data set's name."""
    if source.startswith(HUB):
        name = source.removeprefix(HUB)
        return name.partition("/")[2] or name
    if source in EMBEDDED or source.startswith(MEMORY) or not source:
        return source
    path = Path(source).resolve()
    return path.stem if path.suffix in _FILE_SUFFIXES else path.name


def _absolute(source: str) -> str:
    return os.path.abspath(os.path.expanduser(source))


def _is_path(source: str) -> bool:
    """Whether a path was meant, though nothing is there."""
    first, *rest = Path(source).parts or ("",)
    if source.startswith(("/", "./", "../", "~")) or source in (".", "..") or source.endswith(("/", *_FILE_SUFFIXES)):
        return True
    return bool(rest) and Path(first).is_dir()
