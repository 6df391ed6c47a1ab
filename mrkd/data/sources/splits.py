"""Which images are trained on and which are scored: by the names a source gives, or by a fixed draw."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrkd.data.sources.text import clean, listed, printable, shortened
from mrkd.errors import UserError

SPLIT_SEED = 0
"""Splits and subsets never depend on the run's seed, so that all runs are scored on the same images."""
VALIDATION = ("val", "valid", "validation", "eval", "dev")
"""What a validation split is called; it is scored where there is no test split with labels."""
TRAINING = ("train", "training")
TESTING = ("test", "testing")
WITHOUT_LABELS = ("unlabeled", "unlabelled")
"""What a split is called whose images are there to be trained on beside the labelled ones."""
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
"""Columns that name the split of each row."""
_SHARD = re.compile(r"(?:^|[-_.])\d+(?:[-_.].*)?$")
"""The number of a shard at the end of a name, and what follows it."""
_OF = re.compile(r"-(\d{5})-of-(\d{5})(?!\d)")
"""The number of a shard and how many there are, as the hub's libraries write them."""


def split_of(*names: str) -> str:
    """`train`, `test` or `validation`: what the words of a file's, folder's or split's name say; train otherwise.

    `unlabelled` images are training images.
    """
    said = {split_said(name) for name in names}
    return next((split for split in ("test", "validation") if split in said), "train")


def split_said(name: str) -> str | None:
    """`train`, `test`, `validation` or `unlabelled`, as a word of this name says; None when none does.

    `train_val` is trained on.
    """
    words = set(_words(name))
    if words & set(TESTING):
        return "test"
    if words & set(VALIDATION) and not (words & set(TRAINING) and not other_words(name)):
        return "validation"
    if words & set(WITHOUT_LABELS):
        return "unlabelled"
    return "train" if words & set(TRAINING) else None


def trained_or_held_out(split: str) -> str:
    """The split that images of this one belong to: unlabelled ones to the training images."""
    return "train" if split == "unlabelled" else split


def rows_by_split(values: Sequence[Any], column: str) -> dict[str, list[int]]:
    """The rows of each split, by a column that names the split of every row.

    Raises:
        UserError: a value names no split.
    """
    words = [clean(str(value)).casefold() for value in values]
    said = {word: split_said(word) for word in set(words)}
    by_split: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        split = said[word]
        if split is None:
            raise UserError(
                f"{column} must say train, validation (val, dev), test or unlabeled, got {shortened(values[row])} "
                f"in row {row}"
            )
        by_split.setdefault(trained_or_held_out(split), []).append(row)
    return by_split


def other_words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case and in order, that say nothing of a split: `images` of `Train_images2`."""
    said = (*TRAINING, *TESTING, *VALIDATION, *WITHOUT_LABELS)
    return tuple(word for word in _words(name) if word not in said)


def read_as_one(split: str, names: Iterable[str]) -> tuple[str, ...]:
    """A line about parts of several names that together are one split, such as `extra` and `train`."""
    several = sorted(set(names))
    return (f"{split}: read as one: {listed(several, 5)}",) if len(several) > 1 else ()


def told_by_names(files: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    """Files by the split that their names below `root` say."""
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(*file.relative_to(root).with_suffix("").parts), []).append(file)
    return by_split


def notes_on_names(by_split: Mapping[str, Sequence[Path]], root: Path) -> tuple[str, ...]:
    """Lines about files of several names in one split, and about shards that their numbers say are missing."""
    notes: list[str] = []
    for split, files in by_split.items():
        stems = [file.relative_to(root).with_suffix("").as_posix() for file in files]
        notes += read_as_one(split, map(_without_numbers, stems))
        shards: dict[tuple[str, int], set[int]] = {}
        for stem in stems:
            if counted := _OF.search(stem):
                shards.setdefault((stem[: counted.start()], int(counted[2])), set()).add(int(counted[1]))
        notes += [
            f"{split}: {count - len(there):,} of the {count:,} files {printable(name)}-*-of-{count:05d} are missing"
            for (name, count), there in shards.items()
            if len(there) < count
        ]
    return tuple(notes)


def _without_numbers(stem: str) -> str:
    """What the name of a shard below its folder says besides its number, such as `full/train` of `full/train-0007`."""
    parts = (printable(_SHARD.sub("", part)) for part in stem.split("/"))
    return "/".join(part for part in parts if part) or "files named by numbers"


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower())


def stratified(labels: Sequence[int] | Tensor, fraction: float, seed: int = SPLIT_SEED) -> tuple[Tensor, Tensor]:
    """Two ascending int64 index tensors: what stays, and `fraction` of every class; fixed by `seed`."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.as_tensor(labels, dtype=torch.int64).cpu()
    keep, out = [], []
    sizes = classes.unique(return_counts=True)[1].tolist()
    for rows in classes.argsort(stable=True).split(sizes):  # ascending rows of one class after another
        members = rows[torch.randperm(len(rows), generator=generator)]
        count = round(fraction * len(members))
        out.append(members[:count])
        keep.append(members[count:])
    return torch.cat(keep).sort().values, torch.cat(out).sort().values


FEWEST = 10
"""A sample has so many images of some classes, as far as there are, rather than fewer of every class."""


def sample(labels: Sequence[int] | Tensor, count: int) -> Tensor:
    """A fixed choice of `count` images, or all where there are no more: ascending int64 rows.

    Classes come in proportion; where that would leave fewer than `FEWEST` of each, a choice of them comes instead, so
    that images have neighbours of their own class. Where all classes have too few images for that, `FEWEST` of each
    come, as far as there are, and the rest in proportion.
    """
    classes = torch.as_tensor(labels, dtype=torch.int64).cpu()
    if count >= len(classes):
        return torch.arange(len(classes))
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    kinds, sizes = classes.unique(return_counts=True)
    certain = sizes.clamp(max=FEWEST if count < FEWEST * len(kinds) else 0)
    if int(certain.sum()) >= count:
        order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(SPLIT_SEED))
        enough = int((certain[order].cumsum(0) < count).sum()) + 1
        kinds, sizes = kinds[order[:enough]], certain[order[:enough]]
        certain = torch.zeros_like(sizes)
    shares = certain + _in_proportion(sizes - certain, count - int(certain.sum()))
    chosen = []
    for kind, share in zip(kinds, shares.tolist(), strict=True):
        members = (classes == kind).nonzero().flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[:share]])
    return torch.cat(chosen).sort().values


def _in_proportion(sizes: Tensor, count: int) -> Tensor:
    """So many images of each class, `count` in all and at most its size, in proportion to the sizes: int64 as these."""
    exact = sizes * (count / int(sizes.sum()))
    shares = exact.floor().long()
    largest_rests = (exact - shares).argsort(descending=True, stable=True)
    shares[largest_rests[: count - int(shares.sum())]] += 1
    return shares


def subset(images: int, count: int) -> Tensor:
    """A fixed random choice of `count` of so many images (count,) int64."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(SPLIT_SEED))[:count]
