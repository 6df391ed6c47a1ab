"""Several parts of a source, such as two splits of the hub, as one."""

import hashlib
from collections.abc import Sequence

import numpy as np

from mrkd.data.listing import Cell, Cells, KeptCells
from mrkd.data.sources.labels import Found, same_names


class JoinedCells:
    """The cells of several parts behind one another."""

    def __init__(self, parts: Sequence[Cells], rows: Sequence[int] | np.ndarray | None = None) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])
        """First row of each part, and the number of all."""
        self.rows = np.arange(self.starts[-1]) if rows is None else np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Cell:
        return self.many([row])[0]

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The cells of several rows; each part is asked once."""
        wanted = self.rows[list(rows)]
        part_of_row = np.searchsorted(self.starts, wanted, side="right") - 1
        cells: list[Cell] = [None] * len(wanted)
        for number in np.unique(part_of_row).tolist():
            places = (part_of_row == number).nonzero()[0].tolist()
            found = self.parts[number].many((wanted[places] - self.starts[number]).tolist())
            for place, cell in zip(places, found, strict=True):
                cells[place] = cell
        return cells

    def take(self, rows: Sequence[int]) -> "JoinedCells":
        """The same parts with other rows."""
        return JoinedCells(self.parts, self.rows[list(rows)])

    def stamp(self, *, place: bool = True) -> str | None:
        """Of the parts, and the rows; None when a part has none."""
        stamps = [part.stamp(place=place) for part in self.parts]
        if any(stamp is None for stamp in stamps):
            return None
        return hashlib.sha256("".join(map(str, stamps)).encode() + self.rows.tobytes()).hexdigest()


def joined(parts: Sequence[Found]) -> Found:
    """The images of all parts, in this order; those of a part without labels are unlabelled.

    Raises:
        UserError: the parts name their classes differently.
    """
    if len(parts) == 1:
        return parts[0]
    cells = [part.cells for part in parts]
    names = [part.names for part in parts]
    labels = [[None] * len(part.names) if part.values is None else list(part.values) for part in parts]
    return Found(
        names=[name for own in names for name in own],
        cells=KeptCells(cell for own in cells for cell in own.many(range(len(own))))
        if all(isinstance(own, KeptCells) for own in cells)
        else JoinedCells(cells),
        values=None if all(part.values is None for part in parts) else [label for own in labels for label in own],
        class_names=same_names((part.column, part.class_names) for part in parts),
        column=parts[0].column,
        why_unlabelled="; ".join(dict.fromkeys(part.why_unlabelled for part in parts if part.why_unlabelled)),
        notes=tuple(note for part in parts for note in part.notes),
    )
