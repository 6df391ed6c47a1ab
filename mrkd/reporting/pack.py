"""Pack arrays and images for the page: quantised, deflated, in base64. `page/unpack.js` unpacks them.

A packed array is `{"type": "uint8" or "uint16", "shape": [...], "scale": s, "data": ...}`; its values are s times the
integers.
"""

import base64
import io
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

Packed = dict[str, Any]
SPRITE_COLUMNS = 32


def pack_integers(values: np.ndarray) -> Packed:
    """Pack integers in [0, 65535], exactly."""
    top = int(values.max(initial=0))
    assert 0 <= int(values.min(initial=0)) <= top <= 65535
    return _packed(values.astype(np.uint8 if top <= 255 else np.uint16), 1.0)


def pack_magnitudes(values: np.ndarray) -> Packed:
    """Pack non-negative numbers with an error of at most 1 / 131,070 of the largest; NaN and infinity become 0."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    scale = float(finite.max(initial=0.0)) / 65535 or 1.0
    return _packed((finite / scale).round().astype(np.uint16), scale)


def pack_distributions(values: np.ndarray, axes: int = 2) -> Packed:
    """Pack distributions over the last `axes` axes as bytes: the square root of each value over its group's largest.

    The page squares and normalises them. The root keeps small values distinct, which attention with few peaks needs.
    """
    finite = np.nan_to_num(values.astype(np.float64))
    top = finite.max(axis=tuple(range(-axes, 0)), keepdims=True)
    return _packed((255 * np.sqrt(finite / np.where(top > 0, top, 1.0))).round().astype(np.uint8), 1.0)


def pack_layout(points: np.ndarray) -> Packed:
    """Pack points (n, 2), shifted and scaled into the unit square with the same scale for both axes."""
    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max()) or 1.0
    centred = (points - low) / extent + (1 - (points.max(axis=0) - low) / extent) / 2
    return pack_magnitudes(centred)


def pack_sprite(images: np.ndarray) -> dict[str, Any]:
    """Pack images (n, 3, s, s) uint8 into one image with 32 per row, as PNG if that is small, else as JPEG.

    Returns:
        size: s; columns; count: n; url: a data URL.
    """
    return _sprite(np.ascontiguousarray(images).tobytes(), images.shape)


@lru_cache(maxsize=16)  # cached, because a live page packs the same images repeatedly
def _sprite(content: bytes, shape: tuple[int, ...]) -> dict[str, Any]:
    images = np.frombuffer(content, np.uint8).reshape(shape)
    count, _, height, width = shape
    columns = min(SPRITE_COLUMNS, count)
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, 3, height, width), np.uint8)
    sheet[:count] = images
    pixels = sheet.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)  # (rows, s, columns, s, 3)
    picture = Image.fromarray(np.ascontiguousarray(pixels).reshape(rows * height, columns * width, 3))
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        picture = picture.convert("L")
    return {"size": height, "columns": columns, "count": count, "url": picture_url(picture)}


def picture_url(picture: Image.Image) -> str:
    """A data URL of a PNG, or of a JPEG if the PNG would be more than twice as large."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG")
    picture.save(jpeg, "JPEG", quality=90, subsampling=0)
    kind, chosen = ("png", png) if png.tell() <= 2 * jpeg.tell() else ("jpeg", jpeg)
    return f"data:image/{kind};base64," + base64.b64encode(chosen.getvalue()).decode()


def _packed(values: np.ndarray, scale: float) -> Packed:
    little = values.astype(values.dtype.newbyteorder("<"))
    data = base64.b64encode(zlib.compress(little.tobytes())).decode()
    return {"type": values.dtype.name, "shape": list(values.shape), "scale": scale, "data": data}


def packed_bytes(packed: Packed) -> int:
    """Size of the packed array in the page, in bytes."""
    return len(packed["data"]) + 100
