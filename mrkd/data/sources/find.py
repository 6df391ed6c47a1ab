"""Find the images of any source and share them out to splits; nothing is decoded yet."""

import dataclasses
import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from mrkd.config import DataConfig
from mrkd.config.source import HUB, HUB_NAME, MEMORY, absolute_source, source_name
from mrkd.data.listing import Listing, Listings
from mrkd.data.sources.any_folder import find_in_any_folder
from mrkd.data.sources.csv import find_in_csv
from mrkd.data.sources.digits import find_digits
from mrkd.data.sources.files import IMAGE_SUFFIXES
from mrkd.data.sources.hub import find_on_hub
from mrkd.data.sources.labels import Found, classify, spelled_apart
from mrkd.data.sources.memory import find_in_memory
from mrkd.data.sources.parquet import find_in_parquet
from mrkd.data.sources.shapes import find_shapes
from mrkd.data.sources.sharing import share_out
from mrkd.data.sources.webdataset import find_in_shards
from mrkd.errors import UserError

FINDERS = {"digits": find_digits, "shapes": find_shapes}
"""Name of an embedded set -> function of the size; these need no files."""


def list_splits(config: DataConfig) -> Listings:
    """Find the images of a source and share them out: splits, holdout and limits are applied, nothing is decoded.

    Raises:
        UserError: the source is missing or empty.
    """
    name, found = _find(config)
    notes = tuple(note for part in found.values() for note in part.notes)
    notes += spelled_apart(found) if config.use_labels else ()
    listings = share_out(_numbered(classify(found, use_labels=config.use_labels)), config, name, notes)
    if listings is None:
        raise no_images(config.source, notes)
    return listings


def check_outside(out: str | os.PathLike[str], source: str) -> None:
    """Refuse to write into the images' own folder: what is written there would be found as images from then on.

    Raises:
        UserError: `out` lies inside the folder that `source` names.
    """
    folder = Path(absolute_source(source))
    if source in FINDERS or not folder.is_dir() or not Path(out).resolve().is_relative_to(folder.resolve()):
        return
    raise UserError(
        f"--out must lie outside the images' folder {folder}, got {out}, which would be taken for "
        "images: name a place elsewhere with --out"
    )


def _numbered(found: dict[str, Listing]) -> dict[str, Listing]:
    """The same listings with `source_rows`: the order of the source, with training images first if it has splits."""
    first, numbered = 0, {}
    for split in sorted(found, key=("train", "test", "validation").index):
        numbered[split] = dataclasses.replace(found[split], source_rows=range(first, first + len(found[split])))
        first += len(found[split])
    return numbered


def _find(config: DataConfig) -> tuple[str, dict[str, Found]]:
    """Short name and images of the source, by split."""
    source, name = config.source, source_name(config.source)
    if source in FINDERS:
        return name, FINDERS[source](config.size)
    if source.startswith(MEMORY):
        return name, find_in_memory(source, config)
    if HUB_NAME.fullmatch(source.removeprefix(HUB)) and source.startswith(HUB):
        return name, find_on_hub(source.removeprefix(HUB), config)
    path = Path(source)
    if path.is_dir():
        return name, find_in_any_folder(path, config)
    if path.exists():
        return name, _find_in_file(path, config)
    if path.is_absolute():
        raise UserError(
            f"data source {source!r} must be an existing path, and nothing is there: check the path, give the images' "
            "new place with --data.source, or write hub:owner/name for a data set of the hub"
        )
    close = get_close_matches(source, FINDERS)
    hint = f"did you mean {close[0]!r}?" if close else "check the path"
    known = ", ".join(map(repr, FINDERS))
    raise UserError(f"data source {source!r} must be {known}, an existing path, or hub:owner/name: {hint}")


def _find_in_file(path: Path, config: DataConfig) -> dict[str, Found]:
    if not path.is_file():  # reading a named pipe would wait for ever
        raise UserError(f"{path} must be a folder or a regular file, got a pipe, socket or device: name another")
    match path.suffix.lower():
        case ".parquet":
            return find_in_parquet([path], path.parent, config)
        case ".tar":
            return find_in_shards([path], path.parent, config)
        case ".csv" | ".tsv":
            return find_in_csv(path, config)
    raise UserError(
        f"a data file must be parquet, tar, csv or tsv, got {path.name}: give an image's folder, unpack an archive"
    )


def no_images(source: str, notes: Sequence[str] = ()) -> UserError:
    """What to say of a source without a readable image."""
    return UserError(
        f"no readable images found in {source}: expected parquet, tar, or files ending in {' '.join(IMAGE_SUFFIXES)}"
        f"{''.join(f'; {note}' for note in notes)}"
    )
