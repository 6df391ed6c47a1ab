"""The files below a folder, sorted by what they may be; only regular files are ever opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mrkd.data.decode import can_read_heif
from mrkd.data.sources.text import listed, printable

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
HEIF_SUFFIXES = (".heic", ".heif")
"""Read where the package pillow-heif is installed."""
TEXTS = (
    *(".txt", ".md", ".rst", ".xml", ".html", ".htm", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
    *(".log", ".pdf", ".py", ".sh"),
)
"""Endings of what often lies beside images and holds none."""
LISTS = (".csv", ".tsv", ".json", ".jsonl", ".mat")
"""Endings of files that may hold labels."""
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".rar", ".7z")
PAPERS = ("README", "LICENSE", "LICENCE", "COPYING", "MAKEFILE", "VERSION", "CHANGES", "AUTHORS")
"""Files without an ending that are no images."""
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


@dataclass
class Files:
    """What lies below a folder, each list sorted; hidden files are left out."""

    root: Path
    images: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    """Parquet files."""
    shards: list[Path] = field(default_factory=list)
    """Tar files."""
    others: list[Path] = field(default_factory=list)
    irregular: list[Path] = field(default_factory=list)
    """Pipes, sockets, devices and dead links that are named like a table, a shard or without an ending."""
    closed: list[str] = field(default_factory=list)
    """Folders that cannot be opened."""
    empty: list[str] = field(default_factory=list)
    """Folders without a file or folder, such as that of a class without images."""

    def notes(self) -> tuple[str, ...]:
        """One line for each kind of file that a person may have meant to be read."""
        known = (*TEXTS, *LISTS, *ARCHIVES, *HEIF_SUFFIXES, "")
        kinds = {
            "files of other kinds": [path for path in self.others if path.suffix.lower() not in known],
            'pictures that need pip install "mrkd[heif]"': _ending(self.others, HEIF_SUFFIXES),
            "files without an ending that do not start like an image": [
                path for path in _ending(self.others, ("",)) if path.name.upper() not in PAPERS
            ],
            "archives, which must be unpacked": _ending(self.others, ARCHIVES),
            "pipes, sockets, devices or dead links": self.irregular,
        }
        notes = [
            f"not read: {len(paths):,} {kind}, such as {printable(str(paths[0].relative_to(self.root)))}"
            for kind, paths in kinds.items()
            if paths
        ]
        if self.closed:
            notes.append(f"folders that cannot be opened: {listed(self.closed)}")
        if self.empty:
            notes.append(f"{len(self.empty):,} folders are empty, and no class: {listed(sorted(self.empty))}")
        return tuple(notes)

    def lists(self) -> list[str]:
        """Names of files near the top that may hold labels."""
        found = [path.relative_to(self.root) for path in _ending(self.others, LISTS)]
        return [printable(str(path)) for path in found if len(path.parts) <= 2]


def look_through(root: Path) -> Files:
    """Sort the files below `root`, through links too; hidden ones are left out."""
    files = Files(root)
    images = (*IMAGE_SUFFIXES, *(HEIF_SUFFIXES if can_read_heif() else ()))
    for path in sorted(_walk(root, files)):
        suffix = path.suffix.lower()
        if suffix in images:
            files.images.append(path)  # a pipe among them counts as an unreadable image
        elif suffix in (".parquet", ".tar") or suffix == "" or suffix[1:].isdecimal():
            _sort(path, suffix, files)
        else:
            files.others.append(path)
    return files


def is_hidden(name: str) -> bool:
    """Hidden files and folders, and the shadows that macOS packs beside the real ones."""
    return name.startswith(".") or name == "__MACOSX"


def _sort(path: Path, suffix: str, files: Files) -> None:
    if not path.is_file():
        files.irregular.append(path)
    elif suffix == ".parquet":
        files.tables.append(path)
    elif suffix == ".tar":
        files.shards.append(path)
    else:
        (files.images if _starts_like_an_image(path) else files.others).append(path)


def _walk(root: Path, into: Files) -> Iterator[Path]:
    def note(error: OSError) -> None:
        into.closed.append(printable(str(error.filename)))

    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=note):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = [name for name in folders if not is_hidden(name)]
        shown = [name for name in names if not is_hidden(name)]
        if not folders and not shown and folder != str(root):
            into.empty.append(printable(str(Path(folder).relative_to(root))))
        yield from (Path(folder, name) for name in shown)


def _starts_like_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_STARTS) or start[4:12] in (b"ftypavif", b"ftypheic")


def _ending(paths: list[Path], suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in suffixes]
