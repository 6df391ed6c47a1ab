"""Images in WebDataset shards: tar files whose members with one stem make one sample, such as 7.jpg and 7.cls.

The shards are indexed once and read in place. Hugging Face `datasets` would copy them whole into its cache and refuse
shards in which the first samples are of different formats.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrkd.config import DataConfig
from mrkd.data.listing import Cell, stamp_of
from mrkd.data.sources.labels import Found, label_of, numbers_of
from mrkd.data.sources.splits import notes_on_names, told_by_names
from mrkd.data.sources.tar_samples import Sample, samples_of
from mrkd.data.sources.text import listed


class TarCells:
    """Members of tar files, by where their content lies."""

    def __init__(self, files: list[Path], spans: np.ndarray) -> None:
        self.files, self.spans = files, spans
        """`spans` is (n, 3) int64: number of the file, offset and length in bytes."""

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, row: int) -> Cell:
        return self.many([row])[0]

    def many(self, rows: Sequence[int]) -> list[Cell]:
        """The content of several members; each file is opened once for neighbours."""
        cells: list[Cell] = []
        opened, file = -1, None
        try:
            for number, offset, length in self.spans[list(rows)].tolist():
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
        return TarCells(self.files, self.spans[list(rows)])

    def stamp(self, *, place: bool = True) -> str:
        """Of the tar files, and the spans in them."""
        return stamp_of(self.files, self.spans.tobytes(), place=place)


def find_in_shards(files: list[Path], root: Path, config: DataConfig) -> dict[str, Found]:
    """The images of tar files, by the split that the files' names below `root` say.

    Raises:
        UserError: a file is no plain tar, a label cannot be read, or nothing says which image of a sample is meant.
    """
    by_split = told_by_names(files, root)
    notes = [*notes_on_names(by_split, root)]
    samples = {
        split: [(number, sample) for number, path in enumerate(paths) for sample in samples_of(path, config, notes)]
        for split, paths in by_split.items()
    }
    filled = {(split, number) for split, several in samples.items() for number, _ in several}
    bare = [
        path.name
        for split, paths in by_split.items()
        for number, path in enumerate(paths)
        if (split, number) not in filled
    ]
    if bare and filled:
        notes.append(f"{len(bare):,} of {len(files):,} tar files have no images: {listed(bare)}")
    labels = iter(numbers_of(sample.label for several in samples.values() for _, sample in several))
    found: dict[str, Found] = {}
    for split, several in samples.items():
        first = tuple(notes) if not found else ()
        found[split] = _found(by_split[split], several, [next(labels) for _ in several], first)
    return found


def _found(
    paths: list[Path], samples: Sequence[tuple[int, Sample]], labels: list[Any], notes: tuple[str, ...]
) -> Found:
    spans = [(number, sample.offset, sample.length) for number, sample in samples]
    absent = all(label is None for label in labels if label_of(label) is None)
    return Found(
        names=[f"{paths[number].name}/{sample.name}" for number, sample in samples],
        cells=TarCells(paths, np.array(spans, dtype=np.int64).reshape(-1, 3)),
        values=labels,
        column=f"{paths[0].name}: the labels",
        notes=notes,
        why_unlabelled="they have no .cls member, and no label in a .json member" if absent else "",
    )
