"""Odd but sound images look as people expect."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mrkd.data.decode import read_image


def read(image: Image.Image, format: str, size: int = 4, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    pixels = read_image(buffer.getvalue(), size, 10_000_000)
    assert pixels is not None
    return pixels


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_transparent_parts_turn_white(mode, format):
    image = Image.new(mode, (4, 4), (0,) * len(mode))  # black, and not to be seen
    assert read(image, format).min() == 255
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128)).convert(mode)
    assert read(half, format)[0, 0, 0] == pytest.approx(127, abs=1)


def test_transparent_palettes_and_gifs_turn_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert read(image, "PNG", transparency=0).min() == 255
    assert read(image, "GIF", transparency=0).min() == 255
    assert read(image, "PNG").max() == 0


def test_cmyk_keeps_its_colours():
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    for format in ("JPEG", "TIFF"):
        assert np.abs(read(image, format)[0, 0].astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_grey_keeps_its_range(white):
    ramp = (np.linspace(0, 1, 16).reshape(4, 4) * white).astype(np.float32)
    pixels = read(Image.fromarray(ramp), "TIFF")
    assert np.abs(pixels[..., 0] - np.linspace(0, 255, 16).reshape(4, 4)).max() <= 1


def test_missing_values_in_floating_point_are_black():
    ramp = np.array([[np.nan, np.inf], [0.25, 1.0]], dtype=np.float32)
    assert read(Image.fromarray(ramp), "TIFF", size=2)[..., 0].tolist() == [[0, 0], [64, 255]]


def test_sixteen_bit_colour_keeps_its_range():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"\0" + np.array([[65535, 32768, 0], [0, 257, 65535]], dtype=">u2").tobytes()
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    pixels = read_image(image, 1, 100)
    assert pixels is not None
    assert pixels[0, 0, 2] > 120  # both pixels blended, neither clipped
    assert pixels[0, 0, 1] < 70


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((1600, 1200))
    small = read(image, "JPEG", size=64, quality=95)
    whole = read(image, "PNG", size=64)
    assert np.abs(small.astype(int) - whole).mean() < 2
