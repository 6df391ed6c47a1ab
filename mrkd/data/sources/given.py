"""One image given in Python: a path, a PIL image, an array or a tensor, alone or with its label.

Axes: H x W pixels, S pixels.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from mrkd.data.decode import read_image, to_rgb
from mrkd.errors import UserError


def split_label(item: Any) -> tuple[Any, Any]:
    """Image and label of an item of a data set: a pair (image, label), a 1-tuple, or the image alone.

    Raises:
        UserError: the label is neither a whole number nor a name, or there are more than two parts.
    """
    if not isinstance(item, tuple | list):
        return item, None
    if not 1 <= len(item) <= 2:
        raise UserError(f"an item must be an image or (image, label), got {len(item)} parts")
    if len(item) == 1:
        return item[0], None
    image, label = item
    if isinstance(label, Tensor | np.ndarray | np.generic) and label.ndim == 0:
        label = label.item()
    if label is not None and not isinstance(label, int | float | str):
        raise UserError(f"a label must be a whole number or a name, got {type(label).__name__}")
    return image, label


def image_pixels(image: Any, size: int, *, max_pixels: int, name: str = "the image") -> np.ndarray:
    """RGB pixels (S, S, 3) uint8 of one image, by the rules of `read_image`.

    Args:
        image: the path of a file, a PIL image, an array (H, W, 3), (H, W, 1) or (H, W), or a tensor (3, H, W) or
            (1, H, W). Numbers are uint8, or floating-point in [0, 1].
        size: S.
        max_pixels: larger files are not decoded.
        name: what messages call it.
    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if isinstance(image, Tensor):
        image = _channels_last(image, name)
    if isinstance(image, np.ndarray):
        pixels: np.ndarray | Path = _array_pixels(image, name)
    elif isinstance(image, Image.Image):
        pixels = _pil_pixels(image, name)
    elif isinstance(image, str | os.PathLike):
        pixels = Path(image)
    else:
        raise UserError(f"{name} must be a path, a PIL image, an array or a tensor, got {type(image).__name__}")
    read = read_image(pixels, size, max_pixels)
    if read is None:
        raise UserError(f"{name} cannot be read as an image: expected an image file of at most {max_pixels:,} pixels")
    return read


def _channels_last(image: Tensor, name: str) -> np.ndarray:
    """(C, H, W) -> (H, W, C)."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise UserError(f"{name} must be a tensor of shape (3, H, W), got {tuple(image.shape)}")
    if image.is_floating_point():
        image = image.float()  # numpy lacks bfloat16
    return image.detach().cpu().permute(1, 2, 0).numpy()


def _array_pixels(image: np.ndarray, name: str) -> np.ndarray:
    """(H, W, 3) uint8."""
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise UserError(f"{name} must be an array of shape (H, W, 3), got {image.shape}")
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not 0 <= low <= high <= 1:
            raise UserError(
                f"{name} must have numbers in [0, 1], or uint8, got {low:.3g} to {high:.3g}: leave out normalisation"
            )
        image = (image.astype(np.float32) * 255.0).round().astype(np.uint8)
    if image.dtype != np.uint8:
        raise UserError(f"{name} must be uint8, or floating-point in [0, 1], got {image.dtype}")
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _pil_pixels(image: Image.Image, name: str) -> np.ndarray:
    try:
        return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # PIL reads a file now, and raises whatever it stumbles over
        raise UserError(f"{name} cannot be read as an image: {error}") from None
