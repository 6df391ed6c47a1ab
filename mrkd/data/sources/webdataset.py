"""Images in WebDataset shards: tar files whose members with one stem make one sample, such as 7.jpg and 7.cls.

The shards are indexed once and read in place. Hugging Face `datasets` would copy them whole into its cache and refuse
shards in which the first samples are of different formats.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from mrkd.config import DataConfig
from mrkd.data.listing import Cell, stamp_of
from mrkd.data.sources.folder import IMAGE_SUFFIXES, is_hidden
from mrkd.data.sources.labels import USUAL_LABELS, Found, integers
from mrkd.data.sources.splits import split_of
from mrkd.errors import UserError

MAX_TEXT = 1_000_000
"""Bytes of a label's member; a longer one is a mistake."""


class TarCells:
    """Members of tar files, by the place of their content."""

    def __init__(self, files: list[Path], places: np.ndarray) -> None:
        self.files, self.places = files, places
        """`places` is (n, 3) int64: number of the file, offset and length in bytes."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> Cell:
        return self.many([row])[0]

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The content of several members; each file is opened once for neighbours."""
        cells: list[Cell] = []
        opened, file = -1, None
        try:
            for number, offset, length in self.places[list(rows)].tolist():
                if number != opened:
                    if file is not None:
                        file.close()
                    file, opened = self.files[number].open("rb"), number
                assert file is not None
                file.seek(offset)
                cells.append(file.read(length))
        finally:
            if file is not None:
                file.close()
        return cells

    def take(self, rows: Sequence[int]) -> "TarCells":
        """The same files with other members."""
        return TarCells(self.files, self.places[list(rows)])

    def stamp(self, *, place: bool = True) -> str:
        """Of the tar files, and the places in them."""
        return stamp_of(self.files, self.places.tobytes(), place=place)


class _Sample(NamedTuple):
    name: str
    offset: int
    length: int
    label: str | None


def find_in_shards(files: list[Path], root: Path, config: DataConfig) -> dict[str, Found]:
    """The images of tar files, by the split that the files' names below `root` say.

    A sample's label is its `.cls` member, or the key `data.label_column` (or a usual name) of its `.json` member.
    `data.image_column` names the extension of the image where a sample has several.

    Raises:
        UserError: a file is no plain tar, or only some samples have a label.
    """
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(*file.relative_to(root).with_suffix("").parts), []).append(file)
    found = {}
    for split, paths in by_split.items():
        samples = [(number, sample) for number, path in enumerate(paths) for sample in _samples(path, config)]
        labels = [sample.label for _, sample in samples if sample.label is not None]
        if labels and len(labels) < len(samples):
            missing = next(sample.name for _, sample in samples if sample.label is None)
            raise UserError(
                f"{paths[0].name}: {len(labels)} of {len(samples)} samples have a label, {missing} has none"
            )
        places = [(number, sample.offset, sample.length) for number, sample in samples]
        found[split] = Found(
            names=[f"{paths[number].name}/{sample.name}" for number, sample in samples],
            cells=TarCells(paths, np.array(places, dtype=np.int64).reshape(-1, 3)),
            values=integers(labels) if labels else None,
            column=f"{paths[0].name}: the labels",
        )
    return found


def _samples(path: Path, config: DataConfig) -> Iterator[_Sample]:
    end = path.stat().st_size
    key, image, label = None, None, None
    for stem, extension, member, archive in _members(path):
        if stem != key:
            if image is not None:
                yield _Sample(*image, label)
            key, image, label = stem, None, None
        if _is_image(extension, config.image_column) and image is None:
            # A header may declare more than the file holds; nobody should reserve memory for that.
            image = (member.name, member.offset_data, min(member.size, end - member.offset_data))
        elif extension in ("cls", "json") and label is None:
            label = _label(archive, member, extension, config.label_column)
    if image is not None:
        yield _Sample(*image, label)


def _members(path: Path) -> Iterator[tuple[str, str, tarfile.TarInfo, tarfile.TarFile]]:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                stem, _, extension = place.name.partition(".")
                if member.isreg() and not any(map(is_hidden, place.parts[-1:])):
                    yield str(place.parent / stem), extension.lower(), member, archive
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"cannot read {path} as an uncompressed tar: {error}") from None


def _is_image(extension: str, asked: str | None) -> bool:
    if asked is not None:
        return extension == asked.lower().lstrip(".")
    return extension.endswith(tuple(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, extension: str, asked: str | None) -> str | None:
    file = archive.extractfile(member)
    assert file is not None
    text = file.read(min(member.size, MAX_TEXT)).decode(errors="replace").strip()
    if extension == "cls":
        return text
    try:
        values: Any = json.loads(text)
    except ValueError:
        raise UserError(f"{member.name} must hold JSON, got {text[:40]!r}") from None
    found = next((name for name in ([asked] if asked else USUAL_LABELS) if name in values), None)
    return None if found is None else str(values[found])
