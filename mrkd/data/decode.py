"""Decode one image file or embedded image of any kind to RGB pixels; None if it cannot be read."""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mrkd.data.listing import Cell

try:
    import pillow_heif
except ImportError:
    pillow_heif = None
else:
    pillow_heif.register_heif_opener()

# Pillow's remarks on odd files: unreadable ones are counted and named. Set once, as changing filters is not safe in
# threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

DECODING = 2
"""Counts up whenever the same file would give other pixels, so that no cache of older ones is used."""


def can_read_heif() -> bool:
    """Whether the package for HEIC and HEIF files is installed."""
    return pillow_heif is not None


def read_image(cell: Cell | str, size: int, max_pixels: int) -> np.ndarray | None:
    """RGB pixels (S, S, 3): turned upright, the shorter side resized to `size`, centre cropped.

    Of an animation the first frame. Transparent parts turn white, as on a page. 16-bit grey is scaled to 8 bits, always
    by the same factor; floating-point grey counts as [0, 1] when it has nothing above 1. Colour profiles are ignored.

    Args:
        cell: the file's content or its path; or pixels (H, W, 3) uint8.
        size: S.
        max_pixels: larger images are not decoded; a few bytes can declare a picture that fills the memory.
    Returns:
        None when the image is unreadable, too large, or not a regular file.
    """
    if isinstance(cell, np.ndarray):
        return cell if cell.shape[:2] == (size, size) else _fit(Image.fromarray(cell), size)
    if cell is None or (not isinstance(cell, bytes) and not _is_file(Path(cell))):
        return None
    try:
        with Image.open(io.BytesIO(cell) if isinstance(cell, bytes) else cell) as opened:
            if opened.width * opened.height > max_pixels:
                return None
            # A JPEG of many megapixels is decoded at a half, a quarter or an eighth, never below twice the size.
            opened.draft(None, (2 * size, 2 * size))
            return _fit(to_rgb(ImageOps.exif_transpose(opened)), size)
    except Exception:  # decoders raise whatever they stumble over in a hostile file: struct.error, IndexError, ...
        return None


class Header(NamedTuple):
    """What the header of an image file states."""

    width: int
    height: int
    format: str
    """Such as PNG; `pixels` for an embedded set."""
    mode: str
    """Pillow's name of the kind of pixels, such as RGB or I;16."""


def read_header(cell: Cell) -> Header | None:
    """The declared size and kind of an image, even if the rest cannot be read; None if the header is damaged too."""
    if isinstance(cell, np.ndarray):
        return Header(cell.shape[1], cell.shape[0], "pixels", "RGB")
    if cell is None or (isinstance(cell, Path) and not _is_file(cell)):
        return None
    try:
        with Image.open(io.BytesIO(cell) if isinstance(cell, bytes) else cell) as opened:
            return Header(opened.width, opened.height, opened.format or "?", opened.mode)
    except Exception:  # as above
        return None


def _is_file(path: Path) -> bool:
    """Whether this is a regular file: reading a named pipe would wait for ever."""
    try:
        return path.is_file()
    except OSError:  # a name longer than the file system allows
        return False


def _fit(image: Image.Image, size: int) -> np.ndarray:
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes to 8-bit RGB, by the rules of `read_image`."""
    if image.mode.startswith("I") or image.mode == "F":
        return _grey(np.asarray(image).astype(np.float64))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image.Image:
    """Convert grey of more than 8 bits. Pillow would clip it at 255, and turn values in [0, 1] black."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    brightest = values.max(initial=0.0)
    if brightest > 255:
        values = values / 257.0
    elif brightest <= 1 and (values % 1).any():
        values = values * 255.0
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
