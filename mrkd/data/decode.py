"""One image file or embedded image, whoever made it, as RGB pixels: or nothing, when it cannot be read."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mrkd.data.listing import Cell


def read_image(cell: Cell | str, size: int, max_pixels: int) -> np.ndarray | None:
    """RGB pixels (S, S, 3): turned upright, the shorter side resized to `size`, centre cropped.

    Of an animation the first frame; 16-bit grey is scaled to 8 bits.

    Args:
        cell: the file's content or its path; or pixels (H, W, 3) uint8.
        size: S.
        max_pixels: larger images are not decoded; a few bytes can declare a picture that fills the memory.
    Returns:
        None when the image is broken, too large, or not a regular file.
    """
    if isinstance(cell, np.ndarray):
        return cell if cell.shape[:2] == (size, size) else _fit(Image.fromarray(cell), size)
    if cell is None or (not isinstance(cell, bytes) and not Path(cell).is_file()):
        return None  # a named pipe would wait for ever
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files; broken ones are counted and named
            with Image.open(io.BytesIO(cell) if isinstance(cell, bytes) else cell) as opened:
                if opened.width * opened.height > max_pixels:
                    return None
                return _fit(_to_rgb(ImageOps.exif_transpose(opened)), size)
    except Exception:  # decoders raise whatever they stumble over in a hostile file: struct.error, IndexError, ...
        return None


def _fit(image: Image.Image, size: int) -> np.ndarray:
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip what lies above 255
        values = np.asarray(image).astype(np.int64)
        if values.max(initial=0) > 255:
            values = values // 257
        return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
