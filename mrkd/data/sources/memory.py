"""Images given in Python: held in memory under a name made of their content, by which a run finds them again.

Axes: n images, H x W pixels of one of them, S pixels.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mrkd.config import DataConfig
from mrkd.config.source import MEMORY
from mrkd.data.listing import KeptCells
from mrkd.data.sources.files import HEIF_SUFFIXES, IMAGE_SUFFIXES
from mrkd.data.sources.given import image_pixels, split_label
from mrkd.data.sources.labels import Found
from mrkd.errors import UserError

Images: TypeAlias = (
    str | os.PathLike[str] | Image.Image | np.ndarray | Tensor | Sequence[Any] | Dataset[Any]  # of one or many images
)
"""One image or several: paths of image files, PIL images, arrays (H, W, 3) or (n, H, W, 3), tensors (3, H, W) or
(n, 3, H, W); a list of such images, or a torch data set of them. Items may be pairs (image, label)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagesInMemory:
    """Images that a source of the name `source` stands for, as long as somebody holds this object."""

    pixels: np.ndarray
    """(n, S, S, 3) uint8, as `read_image` makes them."""
    names: tuple[str, ...]
    """(n) paths of files, or `image 0` and so on."""
    labels: tuple[Any, ...] | None
    """(n) whole numbers or names, None for an unlabelled image; None when no image has a label."""
    class_names: tuple[str, ...] | None
    """What the numbers stand for, where the data set says so."""

    @cached_property
    def source(self) -> str:
        """`memory:` and a digest of pixels, labels and class names: equal images have equal names."""
        digest = hashlib.sha256(repr((self.pixels.shape, self.labels, self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return f"{MEMORY}{digest.hexdigest()[:16]}"


_HELD: WeakValueDictionary[str, ImagesInMemory] = WeakValueDictionary()
"""Images by their source; an entry goes when nobody holds the images any more."""


def name_source(given: Images, config: DataConfig) -> tuple[str, ImagesInMemory | None]:
    """The source for `data.source`, and the images if it stands for images in memory: whoever reads them holds these.

    Text and paths name a source themselves, except the path of one image file.

    Raises:
        UserError: as `hold_in_memory`.
    """
    if isinstance(given, str | os.PathLike) and not is_image_file(given):
        return os.fspath(given), None
    held = hold_in_memory(given, config)
    return held.source, held


def is_image_file(given: object) -> bool:
    """Whether this is the path of one image file."""
    return (
        isinstance(given, str | os.PathLike)
        and Path(given).suffix.lower() in (*IMAGE_SUFFIXES, *HEIF_SUFFIXES)
        and Path(given).is_file()
    )


def hold_in_memory(given: Images, config: DataConfig) -> ImagesInMemory:
    """Read images, fit them to `data.size`, and hold them under the name of their content.

    Args:
        given: n images; text and paths are image files.
        config: `size`, `max_pixels` and `max_resident_gib` are used.
    Raises:
        UserError: this is no image or holds none, an image cannot be read, or they would not fit the memory.
    """
    items = _listed(given)
    gib = len(items) * 3 * config.size**2 / 2**30
    if gib > config.max_resident_gib:
        raise UserError(
            f"{len(items)} images of {config.size} px need {gib:.1f} GiB of memory, more than data.max_resident_gib = "
            f"{config.max_resident_gib}: give the path of their folder, or raise it"
        )
    pixels = np.empty((len(items), config.size, config.size, 3), dtype=np.uint8)
    names, labels = [], []
    for row in range(len(items)):
        image, label = split_label(items[row])
        names.append(os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {row}")
        pixels[row] = image_pixels(image, config.size, max_pixels=config.max_pixels, name=names[row])
        labels.append(label)
    held = ImagesInMemory(
        pixels=pixels,
        names=tuple(names),
        labels=None if all(label is None for label in labels) else tuple(labels),
        class_names=_class_names(given),
    )
    return _HELD.setdefault(held.source, held)


def find_in_memory(source: str, config: DataConfig) -> dict[str, Found]:
    """The images that are held under this name.

    Raises:
        UserError: nobody holds them, or they were read in another size.
    """
    held = _HELD.get(source)
    if held is None:
        raise UserError(
            f"the images of {source} were given in Python, and only that process has them: give the same images again "
            "there, as data=..., or name a folder or file with --data.source"
        )
    if held.pixels.shape[1] != config.size:
        raise UserError(f"{source} holds images of {held.pixels.shape[1]} px, got data.size {config.size}: give both")
    names = list(held.names)
    return {
        "train": Found(
            names=names, cells=KeptCells(held.pixels), values=held.labels, class_names=held.class_names or None
        )
    }


def _listed(given: Images) -> Any:
    """Something with a length that gives an item by its row."""
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 4:
        items: Any = given
    elif isinstance(given, np.ndarray | Tensor | str | os.PathLike | Image.Image):
        items = [given]
    elif isinstance(given, Dataset) and not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise UserError("a data set must have a length and items by number, got a stream: collect its images in a list")
    elif isinstance(given, list | tuple | Dataset):
        items = given
    else:
        raise UserError(
            "images must be paths, PIL images, arrays (n, H, W, 3), tensors (n, 3, H, W), a list of images or a torch "
            f"data set, got {type(given).__name__}"
        )
    if len(items) == 0:
        raise UserError("expected at least one image, got none")
    return items


def _class_names(given: Images) -> tuple[str, ...] | None:
    """The names that torchvision's data sets have for their numbers."""
    names = getattr(given, "classes", None) if isinstance(given, torch.utils.data.Dataset) else None
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None
