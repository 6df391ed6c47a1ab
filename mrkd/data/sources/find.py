"""Find the images of any source and share them out to splits; nothing is decoded yet."""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from mrkd.config import DataConfig
from mrkd.data.listing import Listings
from mrkd.data.sources.csv import find_in_csv
from mrkd.data.sources.digits import find_digits
from mrkd.data.sources.files import IMAGE_SUFFIXES
from mrkd.data.sources.folders import find_in_any_folder
from mrkd.data.sources.hub import find_on_hub
from mrkd.data.sources.labels import Found, classify
from mrkd.data.sources.parquet import find_in_parquet
from mrkd.data.sources.shapes import find_shapes
from mrkd.data.sources.sharing import share_out
from mrkd.data.sources.webdataset import find_in_shards
from mrkd.errors import UserError

EMBEDDED = {"digits": find_digits, "shapes": find_shapes}
"""Name -> function of the size; these need no files."""


def list_splits(config: DataConfig) -> Listings:
    """Find the images of a source and share them out: splits, holdout and limits are applied, nothing is decoded.

    Raises:
        UserError: the source is missing or empty.
    """
    name, found = _find(config)
    notes = tuple(note for part in found.values() for note in part.notes)
    listings = share_out(classify(found, use_labels=config.use_labels), config, name, notes)
    if listings is None:
        raise no_images(config.source, notes)
    return listings


def check_outside(out: str | Path, source: str) -> None:
    """Pictures that are written into a folder of images would be found as images from then on.

    Raises:
        UserError: `out` lies inside the folder that `source` names.
    """
    folder = _local_path(source)
    if source in EMBEDDED or not folder.is_dir() or not Path(out).resolve().is_relative_to(folder.resolve()):
        return
    raise UserError(
        f"--out must lie outside the images' folder {folder}, got {out}, whose pictures would be taken for "
        "images: name a folder elsewhere with --out"
    )


def _find(config: DataConfig) -> tuple[str, dict[str, Found]]:
    """Short name and images of the source, by split."""
    source = config.source
    if source in EMBEDDED:
        return source, EMBEDDED[source](config.size)
    if hub := re.fullmatch(r"hf:([\w.-]+|[\w.-]+/[\w.-]+(?::[\w.-]+)?)", source):
        return hub[1].partition("/")[2] or hub[1], find_on_hub(hub[1], config)
    path = _local_path(source)
    if path.is_dir():
        return path.resolve().name, find_in_any_folder(path, config)
    if path.exists():
        return path.resolve().stem, _find_in_file(path, config)
    first, *rest = Path(source).parts
    if source.startswith(("/", "./", "../", "~")) or (rest and Path(first).is_dir()):
        raise UserError(
            f"data source {source!r} must be an existing path, and nothing is there: check the path, "
            "or write hf:owner/name for a data set of the hub"
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", source):
        return source.partition("/")[2], find_on_hub(source, config)
    close = get_close_matches(source, EMBEDDED)
    hint = f"did you mean {close[0]!r}?" if close else "check the path"
    known = ", ".join(map(repr, EMBEDDED))
    raise UserError(f"data source {source!r} must be {known}, an existing path, or owner/name on the hub: {hint}")


def _local_path(source: str) -> Path:
    return Path(os.path.expanduser(source))  # Path.expanduser raises where ~ is followed by nobody's name


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
