"""The samples of one tar file: its images and what is written as their labels.

Members whose names agree up to the first dot are one sample, as in WebDataset, in whatever order they come. Images
whose names have further dots are samples of their own where the sample has no image without one: `2024.05.01.jpg`.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mrkd.config import DataConfig
from mrkd.data.sources.columns import find_column
from mrkd.data.sources.files import IMAGE_SUFFIXES, is_hidden
from mrkd.data.sources.labels import USUAL_LABELS
from mrkd.data.sources.text import listed, printable, shortened
from mrkd.errors import UserError

MAX_TEXT = 1_000_000
"""Bytes of a label's member; a longer one is a mistake."""
LABEL_SUFFIXES = (".cls", ".json")


class Sample(NamedTuple):
    """One image."""

    name: str
    offset: int
    length: int
    label: Any
    """As it is written: text of a `.cls`, a value of a `.json`; None without either."""


class _Member(NamedTuple):
    name: str
    offset: int
    length: int

    @property
    def stem(self) -> str:
        """The name up to the last dot."""
        return str(PurePosixPath(self.name).with_suffix(""))

    @property
    def key(self) -> str:
        """The name up to the first dot."""
        path = PurePosixPath(self.name)
        return str(path.parent / path.name.partition(".")[0])

    @property
    def extension(self) -> str:
        """What follows the first dot, in lower case."""
        return PurePosixPath(self.name).name.partition(".")[2].lower()


@dataclass
class _Index:
    images: dict[str, _Member] = field(default_factory=dict)
    labels: dict[tuple[str, str], _Member] = field(default_factory=dict)
    """By stem and suffix."""
    twice: list[str] = field(default_factory=list)
    """Names that come again: the later member counts, as it does when the file is unpacked."""
    links: list[str] = field(default_factory=list)
    """Images that are links to nothing in the file, or sparse."""


def samples_of(path: Path, config: DataConfig, notes: list[str]) -> Iterator[Sample]:
    """The images of a tar file, in its order; a line is added to `notes` for what is left out.

    A sample's label is its `.cls` member, or the key `data.label_column` (or a usual name) of its `.json` member.
    `data.image_column` names the extension of the image where a sample has several.

    Raises:
        UserError: it is no plain tar, a label cannot be read, or nothing says which image of a sample is meant.
    """
    index = _read_index(path, config)
    groups: dict[str, list[_Member]] = {}
    for image in index.images.values():
        groups.setdefault(image.key, []).append(image)
    chosen = {image.name for key, images in groups.items() for image in _choose(path, key, images, index, config)}
    used: set[_Member] = set()
    with path.open("rb") as file:
        for image in index.images.values():
            if image.name in chosen:
                label = _label_member(image, index)
                used.update(() if label is None else (label,))
                yield Sample(*image, None if label is None else _label(file, label, config.label_column))
    spare = [label.name for label in index.labels.values() if label not in used]
    left = [name for name in index.images if name not in chosen]
    for names, what in (
        (left, "further images of samples were left out (data.image_column names the ending of the one to read)"),
        (spare, "label members have no image"),
        (index.twice, "members come twice, of which the later counts"),
        (index.links, "images are sparse, or links to nothing in the file, and were left out"),
    ):
        if names:
            notes.append(f"{path.name}: {len(names):,} {what}: {printable(listed(names))}")


def _choose(path: Path, key: str, images: list[_Member], index: _Index, config: DataConfig) -> list[_Member]:
    """Which images of a sample are read."""
    if len(images) == 1 or config.image_column is not None:
        return images
    own = [image for image in images if image.stem != key and _has_label(image.stem, index)]
    rest = [image for image in images if image not in own]
    plain = [image for image in rest if image.stem == key]
    if len(plain) > 1 or (not plain and len(rest) > 1 and _has_label(key, index)):
        raise UserError(
            f"{path.name}: sample {printable(key)} has {len(rest)} images ({listed([one.extension for one in rest])}), "
            "because members are one sample when their names agree up to the first dot: set data.image_column to the "
            f"ending of the one to read, such as {rest[0].extension}"
        )
    return own + (plain or rest)


def _has_label(stem: str, index: _Index) -> bool:
    return any((stem, suffix) in index.labels for suffix in LABEL_SUFFIXES)


def _label_member(image: _Member, index: _Index) -> _Member | None:
    places = [(stem, suffix) for stem in (image.stem, image.key) for suffix in LABEL_SUFFIXES]
    return next((index.labels[place] for place in places if place in index.labels), None)


def _read_index(path: Path, config: DataConfig) -> _Index:
    index, end = _Index(), path.stat().st_size
    regular: dict[str, tuple[int, int]] = {}
    for member in _members(path):
        place = PurePosixPath(member.name)
        if not place.name or is_hidden(place.name):
            continue
        suffix = place.suffix.lower()
        wanted = _is_image(place, config.image_column) or suffix in LABEL_SUFFIXES
        if member.isreg() and not member.issparse():
            # A header may declare more than the file holds; nobody should reserve memory for that.
            regular[member.name] = (member.offset_data, min(member.size, end - member.offset_data))
        span = regular.get(member.linkname if member.islnk() else member.name)
        if wanted and span is not None and (member.isreg() or member.islnk()):
            part = _Member(member.name, *span)
            index.twice += [member.name] * (part.name in index.images or (part.stem, suffix) in index.labels)
            if suffix in LABEL_SUFFIXES:
                index.labels[part.stem, suffix] = part
            else:
                index.images[member.name] = part
        elif wanted and not member.isdir():
            index.links.append(member.name)
    return index


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    last = -1
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.size < 0 or member.offset <= last:  # it would be read in circles
                    raise tarfile.ReadError(f"the header at byte {member.offset} declares {member.size} bytes")
                last = member.offset
                yield member
            _check_end(path, archive.offset)
    except Exception as error:  # tarfile raises ValueError, OverflowError and more over a hostile header
        reason = printable(" ".join(str(error).split()))[:200]
        raise UserError(f"cannot read {path} as an uncompressed tar: {reason}") from None


def _check_end(path: Path, offset: int) -> None:
    """Nothing but zeros may follow the last member: tarfile stops without a word at a damaged header."""
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(2**20):
            if block.strip(b"\0"):
                raise tarfile.ReadError(f"a damaged header, or another tar, follows the last member at byte {offset}")


def _is_image(place: PurePosixPath, asked: str | None) -> bool:
    if asked is not None:
        return place.name.partition(".")[2].lower() == asked.lower().lstrip(".")
    return place.suffix.lower() in IMAGE_SUFFIXES


def _label(file: Any, member: _Member, asked: str | None) -> Any:
    name = printable(member.name)
    if member.length > MAX_TEXT:
        raise UserError(f"{name} must hold a label of at most {MAX_TEXT:,} bytes, got {member.length:,}")
    file.seek(member.offset)
    text = file.read(member.length).decode(errors="surrogateescape").strip()
    if member.name.lower().endswith(".cls"):
        return text
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{name} must hold a JSON object, got {shortened(text, 40)}")
    key = find_column(name, list(values), [asked] if asked else USUAL_LABELS)
    return None if key is None else values[key]
