"""Images in a folder: flat, nested, in class folders, with or without folders per split."""

import os
from collections.abc import Iterator
from pathlib import Path

from mrkd.data.labels import Found
from mrkd.data.listing import KeptCells
from mrkd.data.splitting import VALIDATION, split_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def is_hidden(name: str) -> bool:
    """Hidden files and folders, and the shadows that macOS packs beside the real ones."""
    return name.startswith(".") or name == "__MACOSX"


def walk(root: Path) -> Iterator[Path]:
    """Every file below `root`, through links too; hidden ones are left out."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (Path(folder, name) for name in files if not is_hidden(name))


def find_in_folder(path: Path) -> dict[str, Found]:
    """The images below a folder, by split.

    Folders called train, test or val(id(ation)) directly inside are the splits. Images are labelled by the first folder
    of their path when there are several such folders and no image lies outside them.
    """
    roots = {
        split_of(child.name): child
        for child in sorted(path.iterdir())
        if child.is_dir() and child.name.lower() in ("train", "test", *VALIDATION)
    }
    files = {
        split: sorted(file.relative_to(root) for file in walk(root) if file.suffix.lower() in IMAGE_SUFFIXES)
        for split, root in (roots or {"train": path}).items()
    }
    everything = [file for found in files.values() for file in found]
    folders = {file.parts[0] for file in everything}
    labelled = len(folders) > 1 and all(len(file.parts) > 1 for file in everything)
    return {
        split: Found(
            names=[str(file) for file in found],
            cells=KeptCells(roots.get(split, path) / file for file in found),
            values=[file.parts[0] for file in found] if labelled else None,
        )
        for split, found in files.items()
    }
