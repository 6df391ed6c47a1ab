"""Where images come from: embedded digits, parquet, folders. Everything ends as one resident uint8 tensor per split."""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrkd.config import DataConfig
from mrkd.data.decode import read_image
from mrkd.errors import UserError, nearest

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MAX_CLASSES = 1_000_000
"""More are taken for a mistake, such as identifiers in the label column."""
_SPLIT_SEED = 0
"""Splits and subsets never depend on the run's seed, so that all runs are scored on the same images."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Decoded images of one split."""

    images: Tensor
    """(n, 3, S, S) uint8."""
    labels: Tensor | None
    """(n,) int64 class indices; None when the images carry no labels."""
    class_names: tuple[str, ...]
    """Names in the order of the indices; empty without labels."""
    masks: Tensor | None = None
    """(n, S, S) bool, True on the object; None when nobody knows where it is."""

    def __len__(self) -> int:
        return self.images.shape[0]

    def take(self, index: Tensor) -> "ImageSet":
        """The images at `index` (int64), in that order."""
        labels = None if self.labels is None else self.labels[index]
        masks = None if self.masks is None else self.masks[index]
        return dataclasses.replace(self, images=self.images[index], labels=labels, masks=masks)

    def require_labels(self, what_for: str) -> Tensor:
        """The labels, or a UserError that says what needed them."""
        if self.labels is None:
            raise UserError(f"{what_for} needs labels, but these images have none: use class folders or a label column")
        return self.labels

    def to(self, device: torch.device) -> "ImageSet":
        """The same set resident on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return dataclasses.replace(self, images=self.images.to(device), labels=labels)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The training images and the images that evaluations score."""

    train: ImageSet
    test: ImageSet | None
    """None when the source is unlabelled and has no split of its own."""
    name: str
    """Short name for tables, such as `digits`."""
    broken: tuple[str, ...] = ()
    """Names of images that could not be read."""

    def require_test(self) -> ImageSet:
        """The test split, or a UserError."""
        if self.test is None:
            raise UserError(f"{self.name} has no test split and no labels to make one: nothing can be evaluated on it")
        return self.test


def load(config: DataConfig) -> Splits:
    """Read, decode and resize a source; apply the limits and the holdout.

    Raises:
        UserError: the source is missing, empty, too broken or too large.
    """
    splits = _EMBEDDED[config.source](config.size) if config.source in _EMBEDDED else _from_path(config)
    train, test = splits.train, splits.test
    if config.holdout == "validation":
        train, test = stratified_split(train, 0.2)
    train = _limit(train, config.train_images)
    test = None if test is None else _limit(test, config.test_images)
    return dataclasses.replace(splits, train=train, test=test)


def stratified_split(images: ImageSet, fraction: float, seed: int = _SPLIT_SEED) -> tuple[ImageSet, ImageSet]:
    """Split off `fraction` of every class (of all images when unlabelled); the choice is fixed by `seed`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels.cpu()
    keep, out = [], []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        count = round(fraction * len(members))
        out.append(members[:count])
        keep.append(members[count:])
    device = images.images.device
    parts = [torch.cat(part).sort().values.to(device) for part in (keep, out)]
    return images.take(parts[0]), images.take(parts[1])


def _limit(images: ImageSet, count: int | None) -> ImageSet:
    if count is None or count >= len(images):
        return images
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    return images.take(torch.randperm(len(images), generator=generator)[:count])


def _digits(size: int) -> Splits:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32))[:, None] * (255.0 / 16.0)  # (n, 1, 8, 8)
    images = torch.nn.functional.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    images = images.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    names = tuple(str(name) for name in bunch.target_names)
    everything = ImageSet(images=images, labels=torch.from_numpy(bunch.target).long(), class_names=names)
    train, test = stratified_split(everything, 0.2)
    return Splits(train=train, test=test, name="digits")


def _shapes(size: int) -> Splits:
    from mrkd.data.shapes import SHAPES, draw_shapes

    def split(name: str) -> ImageSet:
        images, masks, labels = (torch.from_numpy(array.copy()) for array in draw_shapes(size, name))
        return ImageSet(images=images, labels=labels, class_names=tuple(SHAPES), masks=masks)

    return Splits(train=split("train"), test=split("test"), name="shapes")


_EMBEDDED = {"digits": _digits, "shapes": _shapes}


def _from_path(config: DataConfig) -> Splits:
    path = Path(config.source).expanduser()
    if not path.exists():
        hint = nearest(config.source, list(_EMBEDDED)) if os.sep not in config.source else "check the path"
        known = " or ".join(map(repr, _EMBEDDED))
        raise UserError(f"data source {config.source!r} must be {known} or an existing path: {hint}")
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if path.is_file() and path.suffix != ".parquet":
        raise UserError(f"a data file must be parquet, got {path.name}: give its folder to read images")
    rows = _parquet_rows(files, config) if files else _folder_rows(path)
    parts: dict[str, ImageSet] = {}
    broken: list[str] = []
    for split, (names, columns, labels, class_names) in rows.items():
        parts[split] = _decode(columns, names, labels, class_names, config, broken)
    if not parts or all(len(part) == 0 for part in parts.values()):
        raise UserError(
            f"no readable images found in {path}: expected parquet, or files ending in {' '.join(IMAGE_SUFFIXES)}"
        )
    train, test = parts.get("train"), parts.get("test")
    if train is None or test is None:
        only = train if train is not None else test
        assert only is not None
        train, test = (only, None) if only.labels is None else stratified_split(only, 0.2)
    name = path.resolve().name if path.is_dir() else path.resolve().stem
    return Splits(train=train, test=test, name=name, broken=tuple(broken))


Rows = tuple[list[str], Iterable[Any], list[int] | None, tuple[str, ...]]


def _split_of(name: str) -> str:
    lowered = name.lower()
    return "test" if any(word in lowered for word in ("test", "val")) else "train"


def _parquet_rows(files: list[Path], config: DataConfig) -> dict[str, Rows]:
    from datasets import ClassLabel, Image, load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.stem), []).append(str(file))
    rows: dict[str, Rows] = {}
    for split, paths in by_split.items():
        try:
            table = load_dataset("parquet", data_files=paths, split="train")
        except Exception as error:  # pyarrow's own kinds, and whatever else a damaged file makes it raise
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"cannot read {', '.join(paths)} as parquet: {reason[:300]}") from None
        image = _column(table.column_names, config.image_column, ("img", "image"), "image", paths)
        label = _column(
            table.column_names,
            config.label_column,
            ("label", "labels", "fine_label"),
            "label",
            paths,
            required=config.label_column is not None,
        )
        labels: list[int] | None = None
        class_names: tuple[str, ...] = ()
        if label is not None:
            feature = table.features[label]
            labels, class_names = _labels(
                table[label], label, paths, feature.names if isinstance(feature, ClassLabel) else None
            )
        try:
            cells = table.cast_column(image, Image(decode=False))[image]
        except Exception as error:  # as above
            raise UserError(f"{paths[0]}: column {image!r} must hold images, got {type(error).__name__}") from None
        names = [f"{Path(paths[0]).name} row {row}" for row in range(len(table))]
        inside = Path(paths[0]).resolve().parent
        rows[split] = (names, (_cell(cell, inside) for cell in cells), labels, class_names)
    return rows


def _labels(
    values: Iterable[Any], column: str, paths: list[str], names: list[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    labels = []
    limit = MAX_CLASSES if names is None else len(names)
    for row, value in enumerate(values):
        if not isinstance(value, int | float) or value != value // 1 or not 0 <= value < limit:
            raise UserError(
                f"{paths[0]}: column {column!r} must hold whole numbers in [0, {limit}), got {value!r} in row {row}"
            )
        labels.append(int(value))
    return labels, tuple(map(str, range(max(labels, default=-1) + 1)) if names is None else names)


def _cell(cell: Any, inside: Path) -> bytes | Path | None:
    """The embedded image; or a path, which must not lead out of the parquet's own folder."""
    if not isinstance(cell, dict) or cell.get("bytes"):
        return cell["bytes"] if isinstance(cell, dict) else None
    path = (inside / str(cell.get("path") or "")).resolve()
    return path if path.is_relative_to(inside) else None


def _column(
    columns: list[str], asked: str | None, usual: tuple[str, ...], kind: str, paths: list[str], required: bool = True
) -> str | None:
    wanted = usual if asked is None else (asked,)
    for name in wanted:
        if name in columns:
            return name
    if required:
        raise UserError(
            f"{paths[0]} has no {kind} column {' or '.join(map(repr, wanted))}; its columns are "
            f"{', '.join(columns)}: set data.{kind}_column"
        )
    return None


def _folder_rows(path: Path) -> dict[str, Rows]:
    roots = {
        _split_of(child.name): child
        for child in sorted(path.iterdir())
        if child.is_dir() and child.name.lower() in ("train", "test", "val", "valid", "validation")
    }
    rows: dict[str, Rows] = {}
    for split, root in (roots or {"train": path}).items():
        files = sorted(file for file in root.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir())
        if not files:
            continue
        class_folders = {file.relative_to(root).parts[0] for file in files if len(file.relative_to(root).parts) > 1}
        flat = any(len(file.relative_to(root).parts) == 1 for file in files)
        labelled = len(class_folders) > 1 and not flat
        names = [str(file.relative_to(root)) for file in files]
        class_names = tuple(sorted(class_folders)) if labelled else ()
        labels = [class_names.index(Path(name).parts[0]) for name in names] if labelled else None
        rows[split] = (names, files, labels, class_names)
    return rows


def _decode(
    cells: Iterable[Any],
    names: list[str],
    labels: list[int] | None,
    class_names: tuple[str, ...],
    config: DataConfig,
    broken: list[str],
) -> ImageSet:
    gib = len(names) * 3 * config.size**2 / 2**30
    if gib > config.max_resident_gib:
        raise UserError(
            f"{len(names)} images of {config.size} px need {gib:.1f} GiB, more than "
            f"data.max_resident_gib = {config.max_resident_gib}: raise it or set data.train_images"
        )
    pixels = np.empty((len(names), config.size, config.size, 3), dtype=np.uint8)
    kept: list[int] = []
    for row, cell in enumerate(cells):
        image = read_image(cell, config.size, config.max_pixels)
        if image is None:
            broken.append(names[row])
        else:
            pixels[len(kept)] = image
            kept.append(row)
    bad = len(names) - len(kept)
    if bad > config.max_broken_fraction * len(names):
        raise UserError(
            f"{bad} of {len(names)} images cannot be read (first: {broken[-bad]}), more than "
            f"data.max_broken_fraction = {config.max_broken_fraction} allows"
        )
    images = torch.from_numpy(pixels[: len(kept)]).permute(0, 3, 1, 2).contiguous()
    chosen = None if labels is None else torch.tensor([labels[row] for row in kept], dtype=torch.int64)
    return ImageSet(images=images, labels=chosen, class_names=class_names)
