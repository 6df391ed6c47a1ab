"""A folder of parquet files, shards or image files; the kind with the most images is read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from mrkd.config import DataConfig
from mrkd.data.listing import KeptCells
from mrkd.data.sources.files import Files, look_through
from mrkd.data.sources.folder import find_in_folder
from mrkd.data.sources.labels import Found
from mrkd.data.sources.parquet import find_in_parquet
from mrkd.data.sources.text import listed
from mrkd.data.sources.webdataset import find_in_shards
from mrkd.errors import UserError

Found_ = dict[str, Found]


def find_in_any_folder(path: Path, config: DataConfig) -> dict[str, Found]:
    """The images of a folder, by split.

    Where it has several kinds of files with images, the kind with most images is read, and the others are told.

    Raises:
        UserError: the one kind of file that it has cannot be read.
    """
    files = look_through(path)
    kinds: dict[str, tuple[list[Path], Callable[[], Found_]]] = {
        "parquet": (files.tables, lambda: find_in_parquet(files.tables, path, config)),
        "tar": (files.shards, lambda: find_in_shards(files.shards, path, config)),
        "image": (files.images, lambda: find_in_folder(path, files.images)),
    }
    kinds = {kind: entry for kind, entry in kinds.items() if entry[0]}
    if len(kinds) < 2:
        found = next(iter(kinds.values()))[1]() if kinds else {}
        return _with_notes(found, _notes(files, found))
    return _most_images(files, kinds)


def _most_images(files: Files, kinds: dict[str, tuple[list[Path], Callable[[], Found_]]]) -> Found_:
    found: dict[str, Found_] = {}
    failed: dict[str, UserError] = {}
    for kind, (_, find) in kinds.items():
        try:
            found[kind] = find()
        except UserError as error:
            failed[kind] = error
    counts = {kind: sum(len(part.names) for part in splits.values()) for kind, splits in found.items()}
    if not any(counts.values()):
        raise next(iter(failed.values())) if failed else UserError(f"no image found in {files.root}")
    best = max(counts, key=lambda kind: counts[kind])  # the first of equals: a table that lists the images beside it
    notes = []
    for kind, (paths, _) in kinds.items():
        names = listed([str(path.relative_to(files.root)) for path in paths])
        if kind in failed:
            notes.append(f"not read: {len(paths):,} {kind} files ({names}): {failed[kind]}")
        elif kind != best:
            notes.append(
                f"not read: {len(paths):,} {kind} files ({names}) with {counts[kind]:,} images, because there are "
                f"{counts[best]:,} in {best} files: move the others away, or name what to read"
            )
    return _with_notes(found[best], (*notes, *_notes(files, found[best])))


def _notes(files: Files, found: Found_) -> tuple[str, ...]:
    lists = [] if any(part.values is not None for part in found.values()) else files.lists()
    said = (f"not read, although labels may be in them: {listed(lists)}; a CSV or TSV can be named itself",)
    return (*files.notes(), *(said if lists else ()))


def _with_notes(found: Found_, notes: tuple[str, ...]) -> Found_:
    """The notes go with the first split; a source without images has them with an empty one."""
    if not found:
        return {"train": Found(names=[], cells=KeptCells(), notes=notes)}
    first = next(iter(found))
    return {**found, first: dataclasses.replace(found[first], notes=(*found[first].notes, *notes))}
