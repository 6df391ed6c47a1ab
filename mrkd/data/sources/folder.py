"""Images in a folder: flat, nested, in class folders, with or without folders per split."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mrkd.data.listing import KeptCells
from mrkd.data.sources.joining import joined
from mrkd.data.sources.labels import Found
from mrkd.data.sources.splits import other_words, split_said, trained_or_held_out
from mrkd.data.sources.text import clean, listed, printable
from mrkd.errors import UserError

Parts = tuple[str, ...]
"""Folders and name of an image inside its split."""
PICTURE_FOLDERS = ("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpegimages", "rgb")
"""Names that say of a folder that the pictures are there, and nothing of what they show."""


def find_in_folder(path: Path, files: Sequence[Path]) -> dict[str, Found]:
    """The images below a folder, by split.

    Folders whose names say so are the splits, when every image lies in one of them and they are not all for the same
    split (`test_tube` and `test_strip` are classes). A folder that holds everything else is looked through. In each
    split, the class of an image is its folder at the first level that has several folders; images beside these are
    unlabelled, and so is everything where they are the half or more. Images in a folder `unlabeled` beside other
    splits are training images without labels, whatever folders it has.

    Args:
        path: the folder.
        files: the images below it, sorted.
    Raises:
        UserError: there are folders for training and for testing, and images beside them.
    """
    inside = [file.relative_to(path).parts for file in files]
    depth = _wrappers(inside)
    splits = _splits(path, [parts[depth:] for parts in inside])
    rows: dict[str, list[int]] = {}
    for row, parts in enumerate(inside):
        rows.setdefault(splits.get(parts[depth], "train"), []).append(row)
    skip = depth + 1 if splits else 0
    folders = Counter(map(trained_or_held_out, splits.values()))
    start = {split: depth if folders[trained_or_held_out(split)] > 1 else skip for split in rows}  # of its names
    within = {split: [inside[row][skip:] for row in chosen] for split, chosen in rows.items()}
    labels = _labels(within)
    found = {
        split: Found(
            names=["/".join(inside[row][start[split] :]) for row in chosen],
            cells=KeptCells(files[row] for row in chosen),
            values=labels[split][0],
            why_unlabelled=labels[split][1],
            notes=_inside_classes(split, within[split], labels[split][0]),
        )
        for split, chosen in sorted(rows.items())
    }
    return _with_unlabelled(found)


def _with_unlabelled(found: dict[str, Found]) -> dict[str, Found]:
    """The images of an unlabelled split, behind the training images."""
    extra = found.pop("unlabelled", None)
    if extra is None:
        return found
    return {**found, "train": joined([found["train"], extra] if "train" in found else [extra])}


def _wrappers(inside: Sequence[Parts]) -> int:
    """The number of folders around everything else, until one whose name says a split."""
    depth = 0
    while inside and all(len(parts) > depth + 1 for parts in inside):
        names = {parts[depth] for parts in inside}
        if len(names) > 1 or split_said(next(iter(names))):
            break
        depth += 1
    return depth


def _splits(path: Path, inside: Sequence[Parts]) -> dict[str, str]:
    """The split of each folder; nothing when the folders are no splits, whatever the words of their names."""
    folders = sorted({parts[0] for parts in inside if len(parts) > 1})
    named = {folder: split for folder in folders if (split := split_said(folder))}
    if not named:
        return {}
    others = sorted({parts[0] for parts in inside} - set(named))
    if others:
        _refuse_both(path, named, others)
        return {}
    kinds, alike = set(named.values()), len(set(map(other_words, named))) == 1
    if len(named) > 1 and (len(kinds) == 1 or not (alike or kinds & {"train", "unlabelled"})):
        return {}
    return named


def _refuse_both(path: Path, named: dict[str, str], others: list[str]) -> None:
    """Classes called `train` or `test_tube` lie beside others; two folders that differ in that word alone do not."""
    for train in (folder for folder in named if named[folder] == "train"):
        for test in (folder for folder in named if named[folder] != "train"):
            if other_words(train) == other_words(test):
                more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
                raise UserError(
                    f"all images of {path} must lie in {train!r} and {test!r}, or in folders that are no "
                    f"splits; got {others[0]!r}{more} beside them: move that away, or rename the two"
                )


def _labels(within: dict[str, list[Parts]]) -> dict[str, tuple[list[str | None] | None, str]]:
    """For each split the folder of every image that is its class, or None; and why images have none."""
    levels = {split: _level(images) for split, images in within.items()}
    classes = {
        clean(parts[level])
        for split, level in levels.items()
        if level is not None and split != "unlabelled"
        for parts in within[split]
        if len(parts) > level + 1
    }
    return {
        split: (None, "they lie in a split of unlabelled images")
        if split == "unlabelled"
        else _values(images, levels[split], classes)
        for split, images in within.items()
    }


def _level(images: Sequence[Parts]) -> int | None:
    """The first level at which the images lie in several folders; None when there is none."""
    level = 0
    while True:
        folders = [parts[level] for parts in images if len(parts) > level + 1]
        if 2 * len(folders) <= len(images):  # most images lie in no folder
            return None
        if len(set(folders)) > 1:
            return level
        level += 1


def _values(images: Sequence[Parts], level: int | None, classes: set[str]) -> tuple[list[str | None] | None, str]:
    if level is not None:
        values = [parts[level] if len(parts) > level + 1 else None for parts in images]
        outside = ["/".join(parts) for parts in images if len(parts) <= level + 1]
        return values, f"they lie outside the class folders ({listed(outside)})" if outside else ""
    own = [next((name for name in parts[:-1] if clean(name) in classes), None) for parts in images]
    folders = sorted({parts[0] for parts in images if len(parts) > 1})
    if any(name is not None for name in own):
        return own, "they lie outside the class folders"
    if not folders:
        return None, "they lie in no class folders"
    if len(folders) == 1 and all(len(parts) > 1 for parts in images):
        foreign = ", which is no class of the training images" if classes else ""
        return None, f"they all lie in the folder '{printable(folders[0])}'{foreign}"
    return None, f"most lie in no class folders ({listed(folders)} hold the others)"


def _inside_classes(split: str, images: Sequence[Parts], classes: Sequence[str | None] | None) -> tuple[str, ...]:
    """Warnings about folders such as `bottle/train` and `birds/jay`, and classes such as `images` and `masks`."""
    second = sorted({parts[1] for parts in images if len(parts) > 2})
    if {"train"} < {split_said(name) for name in second if not other_words(name)} - {None}:
        return (f"{split}: folders inside the classes ({listed(second)}) are not taken for splits",)
    if classes is None:
        return ()
    names = sorted({name for name in classes if name is not None})
    own = [name for name in names if name.casefold() in PICTURE_FOLDERS]
    deeper = _several_inside(images, classes)
    notes = []
    if own and len(names) > 1:
        notes.append(
            f"{split}: the folders {listed(names)} are taken for classes: name {own[0]!r} itself as the source if the "
            "others hold masks or the like"
        )
    if deeper:
        notes.append(
            f"{split}: folders inside the classes, such as {deeper}, are not taken for classes: name what lies around "
            "them as the source if they are"
        )
    return tuple(printable(note) for note in notes)


def _several_inside(images: Sequence[Parts], classes: Sequence[str | None]) -> str | None:
    """The first of several folders that lie inside one class, such as `Aves/jay`."""
    first: dict[str, Parts] = {}
    for parts, name in zip(images, classes, strict=True):
        if name is None:
            continue
        place = parts[: parts.index(name) + 2]
        if len(place) < len(parts) and first.setdefault(name, place) != place:
            return "/".join(first[name])
    return None
