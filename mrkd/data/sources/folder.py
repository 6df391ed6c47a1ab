"""Images in a folder: flat, nested, in class folders, with or without folders per split."""

import os
from collections.abc import Iterator
from pathlib import Path

from mrkd.data.listing import KeptCells
from mrkd.data.sources.labels import Found
from mrkd.data.sources.splits import other_words, split_said
from mrkd.errors import UserError

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

    Folders directly inside whose names say so are the splits, when every image lies in one of them and they are not
    all for the same split (`test_tube` and `test_strip` are classes). Images are labelled by the first folder of their
    path (inside the split) when there are several such folders and no image lies outside them.

    Raises:
        UserError: there are folders for training and for testing, and images beside them.
    """
    splits = _split_folders(path) or {"train": [path]}
    files = {
        split: [(root, file.relative_to(root)) for root in roots for file in sorted(_images(root))]
        for split, roots in splits.items()
    }
    everything = [file for found in files.values() for _, file in found]
    folders = {file.parts[0] for file in everything}
    labelled = len(folders) > 1 and all(len(file.parts) > 1 for file in everything)
    return {
        split: Found(
            names=[str(file if len(splits[split]) == 1 else Path(root.name, file)) for root, file in found],
            cells=KeptCells(root / file for root, file in found),
            values=[file.parts[0] for _, file in found] if labelled else None,
        )
        for split, found in files.items()
    }


def _split_folders(path: Path) -> dict[str, list[Path]]:
    """The folders of each split; nothing when the folders inside are no splits, whatever the words of their names."""
    children = [child for child in sorted(path.iterdir()) if not is_hidden(child.name)]
    named = {
        child: split
        for child in children
        if (split := split_said(child.name)) and child.is_dir() and _holds_images(child)
    }
    if not named:
        return {}
    others = [child for child in children if child not in named and _holds_images(child)]
    if others:
        _refuse_both(path, named, others)
        return {}
    kinds, alike = set(named.values()), len({other_words(child.name) for child in named}) == 1
    if len(named) > 1 and (len(kinds) == 1 or not (alike or "train" in kinds)):
        return {}
    return {split: [child for child in named if named[child] == split] for split in sorted(kinds)}


def _refuse_both(path: Path, named: dict[Path, str], others: list[Path]) -> None:
    """Classes called `train` or `test_tube` lie beside others; two folders that differ in that word alone do not."""
    for train in (child for child in named if named[child] == "train"):
        for test in (child for child in named if named[child] != "train"):
            if other_words(train.name) == other_words(test.name):
                more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
                raise UserError(
                    f"all images of {path} must lie in {train.name!r} and {test.name!r}, or in folders that are no "
                    f"splits; got {others[0].name!r}{more} beside them: move that away, or rename the two"
                )


def _images(root: Path) -> Iterator[Path]:
    return (file for file in walk(root) if file.suffix.lower() in IMAGE_SUFFIXES)


def _holds_images(child: Path) -> bool:
    return any(True for _ in _images(child)) if child.is_dir() else child.suffix.lower() in IMAGE_SUFFIXES
