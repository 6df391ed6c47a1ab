"""Labels as a source writes them, numbers or names, as class indices that mean the same in every split."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from mrkd.data.listing import UNLABELLED, Cells, Listing
from mrkd.data.sources.text import clean, listed, printable, shortened
from mrkd.errors import UserError

USUAL_LABELS = ("label", "labels", "fine_label", "class", "category", "target")
"""Columns that hold labels where nobody says which one does."""
MAX_CLASSES = 1_000_000
"""More are taken for a mistake, such as identifiers in the label column."""
UNLABELLED_TEXTS = ("", "-1", "-1.0", "nan", "NaN", "null", "None", "unlabeled", "unlabelled")
"""Texts that mean an image without a label, as programs write -1, NaN and null, and people say it."""
_NUMBER = re.compile(r"[+-]?(?!0\d)(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The images of one split with their labels as the source writes them."""

    names: list[str]
    cells: Cells
    values: Sequence[Any] | None = None
    """Whole numbers or names, one per image; None without labels."""
    class_names: Sequence[str] | None = None
    """What the numbers stand for, where the source says so."""
    column: str = "the labels"
    """What a person calls the values, such as `x.parquet: column 'label'`."""
    masks: np.ndarray | None = None
    """(n, S, S) bool, True on the object; None when nobody knows where it is."""
    why_unlabelled: str = ""
    """Why images have no label, where the source knows."""
    notes: tuple[str, ...] = ()
    """One line for each thing that a person may not expect, such as files that were not read."""


def label_of(value: Any) -> Any:
    """The one rule for what is a label: the value, cleaned when it is text; None means unlabelled.

    Unlabelled are null, NaN, -1 and, once spaces around it are gone, a text of `UNLABELLED_TEXTS`.
    """
    if isinstance(value, str):
        text = clean(value)
        return None if text in UNLABELLED_TEXTS else text
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, int | float) and (value != value or value == -1) else value


def numbers_of(values: Iterable[Any]) -> list[Any]:
    """Labels of a source that writes numbers as text: numbers when every text spells one, unchanged otherwise.

    With a zero before its digits, as in `007`, a text is a name: as a number it would be another one's label, too.
    What means unlabelled stays as it is written, so that a person can be told.
    """
    written = list(values)
    labels = [label_of(value) for value in written]
    if not all(_NUMBER.fullmatch(label) for label in labels if isinstance(label, str)):
        return written
    return [_number(label) if isinstance(label, str) else value for value, label in zip(written, labels, strict=True)]


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() and len(text) < 20 else float(text)


def classify(found: Mapping[str, Found], *, use_labels: bool = True) -> dict[str, Listing]:
    """Listings whose class indices mean the same in every split: names are sorted, numbers are kept.

    A split that has no class in common with the training images counts as unlabelled.

    Raises:
        UserError: a label is neither a whole number nor a name, or numbers and names are mixed.
    """
    raw = {split: list(part.values) for split, part in found.items() if part.values is not None and part.names}
    labels = {split: [label_of(value) for value in values] for split, values in raw.items()} if use_labels else {}
    labels = {split: values for split, values in labels.items() if any(value is not None for value in values)}
    _check(found, labels)
    foreign = _foreign(labels)
    labels = {split: values for split, values in labels.items() if split not in foreign}
    classes = _classes(found, labels)
    index = {name: number for number, name in enumerate(classes)}
    listings = {}
    for split, part in found.items():
        known = split in labels
        why = ""
        if not known or None in labels[split]:
            why = "data.use_labels is false" if not use_labels else foreign.get(split) or _why(part, raw.get(split))
        listings[split] = Listing(
            names=[printable(name) for name in part.names],
            cells=part.cells,
            labels=[_index(value, index) for value in labels[split]] if known else None,
            class_names=classes if known else (),
            masks=part.masks,
            why_unlabelled=why,
        )
    return listings


def spelled_apart(found: Mapping[str, Found]) -> tuple[str, ...]:
    """A line about classes that are written in several ways, with other spaces around them or other Unicode forms."""
    written: dict[str, set[str]] = {}
    for part in found.values():
        for value in {value for value in part.values or () if isinstance(value, str)}:
            label = label_of(value)
            if label is not None:
                written.setdefault(label, set()).add(value)
    several = sorted(label for label, ways in written.items() if len(ways) > 1)
    return (f"classes written in several ways are one each: {listed(several)}",) if several else ()


def _why(part: Found, raw: list[Any] | None) -> str:
    if part.why_unlabelled:
        return part.why_unlabelled
    if raw is None:
        return "nothing says their class"
    spelled = Counter("null" if value is None else shortened(value) for value in raw if label_of(value) is None)
    return f"the label is {', '.join(f'{text} in {count:,}' for text, count in spelled.most_common(3))}"


def _check(found: Mapping[str, Found], labels: Mapping[str, list[Any]]) -> None:
    """Every label is a name, or every label a class number; the training images' first label says which."""
    of_train_first = sorted(labels, key=lambda split: split != "train")
    everything = [value for split in of_train_first for value in labels[split] if value is not None]
    names = bool(everything) and isinstance(everything[0], str)
    for split in of_train_first:
        part = found[split]
        limit = MAX_CLASSES if part.class_names is None else len(part.class_names)
        given = None if part.class_names is None else set(map(clean, part.class_names))
        for row, value in enumerate(labels[split]):
            if value is None or (names and isinstance(value, str) and (given is None or value in given)):
                continue
            if names or not _is_class(value, limit):
                expected = "names of classes" if names else f"whole numbers in [0, {limit})"
                raise UserError(
                    f"{part.column} must hold {expected}, got {shortened(value)} in row {row} "
                    "(an unlabelled image has -1, null or nothing)"
                )


def _is_class(value: Any, limit: int) -> bool:
    return isinstance(value, int | float) and value == value // 1 and 0 <= value < limit


def _foreign(labels: Mapping[str, list[Any]]) -> dict[str, str]:
    """Why splits count as unlabelled that have no class of the training images."""
    train = {value for value in labels.get("train", ()) if value is not None}
    foreign = {}
    for split, values in labels.items():
        own = {value for value in values if value is not None}
        if train and not own & train:
            shown = listed([str(value) for value in sorted(own)])
            foreign[split] = f"no training image has a class of theirs ({shown})"
    return foreign


def _classes(found: Mapping[str, Found], labels: Mapping[str, list[Any]]) -> tuple[str, ...]:
    named = same_names((part.column, part.class_names) for split, part in found.items() if split in labels)
    if named is not None:
        return named
    known = {value for values in labels.values() for value in values if value is not None}
    if any(isinstance(value, str) for value in known):
        return tuple(sorted(known))
    return tuple(map(str, range(int(max(known, default=-1)) + 1)))


def same_names(parts: Iterable[tuple[str, Sequence[str] | None]]) -> tuple[str, ...] | None:
    """What the numbers stand for in all of these parts, or None where none says it; one may know more than others.

    Args:
        parts: for each what a person calls its labels, and the names if it has any.
    Raises:
        UserError: a number stands for different classes.
    """
    longest: tuple[str, ...] | None = None
    for column, own in parts:
        names = None if own is None else tuple(map(clean, own))
        for number, (one, other) in enumerate(zip(longest or (), names or (), strict=False)):
            if one != other:
                raise UserError(
                    f"{column} must name the classes as the others do, got {other!r} for {number}, which is "
                    f"{one!r} elsewhere: give the splits of one data set"
                )
        longest = max((some for some in (longest, names) if some is not None), key=len, default=None)
    return longest


def _index(value: Any, index: Mapping[str, int]) -> int:
    if value is None:
        return UNLABELLED
    return index[value] if isinstance(value, str) else int(value)
