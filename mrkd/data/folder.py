"""Images in a folder: flat, nested, in class folders, with or without folders per split."""

import os
from collections.abc import Iterator
from pathlib import Path

from mrkd.data.listing import KeptCells, Listing
from mrkd.data.splitting import VALIDATION, split_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def walk(root: Path) -> Iterator[Path]:
    """Every file below `root`, through links too; hidden ones and macOS's shadows are left out."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def list_folder(path: Path) -> dict[str, Listing]:
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
    # One table of classes for all splits: a class that a split lacks must not shift the indices of the others.
    folders = sorted({file.parts[0] for found in files.values() for file in found if len(file.parts) > 1})
    flat = any(len(file.parts) == 1 for found in files.values() for file in found)
    indices = {} if flat or len(folders) < 2 else {name: index for index, name in enumerate(folders)}
    return {
        split: Listing(
            names=[str(file) for file in found],
            cells=KeptCells((roots or {"train": path})[split] / file for file in found),
            labels=[indices[file.parts[0]] for file in found] if indices else None,
            class_names=tuple(indices),
        )
        for split, found in files.items()
        if found
    }
