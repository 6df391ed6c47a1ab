"""Several parts of a source as one."""

import numpy as np
import pytest

from mrkd.data.listing import KeptCells
from mrkd.data.sources.joining import JoinedCells, joined
from mrkd.data.sources.labels import Found
from mrkd.errors import UserError


class Numbers:
    """Cells that notice how they are asked."""

    def __init__(self, first: int, count: int, stamp: str | None) -> None:
        self.first, self.count, self.own = first, count, stamp
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return self.count

    def many(self, rows):
        self.asked.append(list(rows))
        return [bytes([self.first + row]) for row in rows]

    def stamp(self, *, place: bool = True) -> str | None:
        return self.own


def test_rows_of_several_parts_come_in_the_order_in_which_they_are_asked_for_and_each_part_is_asked_once():
    parts = Numbers(0, 3, "a"), Numbers(10, 2, "b")
    cells = JoinedCells(parts)
    assert len(cells) == 5
    assert cells.many([4, 0, 3, 2, 0]) == [b"\x0b", b"\x00", b"\x0a", b"\x02", b"\x00"]
    assert [part.asked for part in parts] == [[[0, 2, 0]], [[1, 0]]]
    taken = cells.take([3, 1]).take([1, 0, 1])
    assert [taken[row] for row in range(len(taken))] == [b"\x01", b"\x0a", b"\x01"]
    assert cells.many([]) == []


def test_the_stamp_changes_with_a_part_and_with_the_rows():
    cells = JoinedCells([Numbers(0, 3, "a"), Numbers(10, 2, "b")])
    others = JoinedCells([Numbers(0, 3, "a"), Numbers(10, 2, "c")]), cells.take([0, 1]), cells.take([1, 0])
    assert len({cells.stamp(), *(other.stamp() for other in others)}) == 4
    assert JoinedCells([Numbers(0, 3, "a"), Numbers(10, 2, None)]).stamp() is None


def test_images_of_a_part_without_labels_are_unlabelled_among_the_others():
    cells = KeptCells([np.zeros((1, 1, 3), dtype=np.uint8)])
    labelled = Found(names=["a"], cells=cells, values=[1], class_names=["cat", "dog"], notes=("one",))
    bare = Found(names=["b"], cells=cells, why_unlabelled="nobody looked", notes=("two",))
    both = joined([labelled, bare])
    assert (both.names, both.values, both.class_names) == (["a", "b"], [1, None], ("cat", "dog"))
    assert (both.why_unlabelled, both.notes) == ("nobody looked", ("one", "two"))
    assert isinstance(both.cells, KeptCells)
    assert joined([bare, bare]).values is None
    assert joined([labelled]) is labelled


def test_parts_that_name_their_classes_differently_are_refused():
    parts = [Found(names=["a"], cells=KeptCells([None]), values=[0], class_names=names) for names in ("ab", "ba")]
    with pytest.raises(
        UserError, match=r"must name the classes as the others do, got 'b' for 0, which is 'a' elsewhere"
    ):
        joined(parts)
