"""Labels as a source writes them, numbers or names, as class indices that mean the same in every split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrkd.data.listing import Cells, Listing
from mrkd.errors import UserError

USUAL_LABELS = ("label", "labels", "fine_label", "class", "category", "target")
"""Columns that hold labels where nobody says which one does."""
MAX_CLASSES = 1_000_000
"""More are taken for a mistake, such as identifiers in the label column."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The images of one split with their labels as the source writes them."""

    names: list[str]
    cells: Cells
    values: Iterable[Any] | None = None
    """Whole numbers or names, one per image; None without labels."""
    class_names: Sequence[str] | None = None
    """What the numbers stand for, where the source says so."""
    column: str = "the labels"
    """What a person calls the values, such as `x.parquet: column 'label'`."""
    masks: np.ndarray | None = None
    """(n, S, S) bool, True on the object; None when nobody knows where it is."""


def classify(found: Mapping[str, Found], *, use_labels: bool = True) -> dict[str, Listing]:
    """Listings whose class indices mean the same in every split: names are sorted, numbers are kept.

    Raises:
        UserError: a label is missing or no class.
    """
    values = {
        split: list(part.values)
        for split, part in found.items()
        if use_labels and part.values is not None and part.names
    }
    classes = _classes(found, values)
    listings = {}
    for split, part in found.items():
        labels = _indices(values[split], classes, part) if split in values else None
        listings[split] = Listing(
            names=part.names,
            cells=part.cells,
            labels=labels,
            class_names=() if labels is None else classes,
            masks=part.masks,
        )
    return listings


def integers(texts: Sequence[str]) -> Sequence[int] | Sequence[str]:
    """The whole numbers that these texts spell; the texts themselves when one of them is none."""
    return [int(text) for text in texts] if all(text.strip().isdecimal() for text in texts) else texts


def _classes(found: Mapping[str, Found], values: Mapping[str, list[Any]]) -> tuple[str, ...]:
    named = [part.class_names for split, part in found.items() if split in values and part.class_names is not None]
    if named:
        return max(map(tuple, named), key=len)
    everything = [value for part in values.values() for value in part]
    if _are_names(everything):
        return tuple(sorted({value for value in everything if isinstance(value, str)}))
    whole = [int(value) for value in everything if _is_class(value, MAX_CLASSES)]
    return tuple(map(str, range(max(whole, default=-1) + 1)))


def _are_names(values: Iterable[Any]) -> bool:
    return isinstance(next((value for value in values if value is not None), None), str)


def _is_class(value: Any, limit: int) -> bool:
    return isinstance(value, int | float) and value == value // 1 and 0 <= value < limit


def _indices(values: list[Any], classes: tuple[str, ...], part: Found) -> list[int]:
    index = {name: number for number, name in enumerate(classes)}
    names = _are_names(values)
    limit = MAX_CLASSES if part.class_names is None else len(part.class_names)
    labels = []
    for row, value in enumerate(values):
        if names and isinstance(value, str) and value in index:
            labels.append(index[value])
        elif not names and _is_class(value, limit):
            labels.append(int(value))
        else:
            expected = "names of classes" if names else f"whole numbers in [0, {limit})"
            raise UserError(f"{part.column} must hold {expected}, got {value!r} in row {row}")
    return labels
