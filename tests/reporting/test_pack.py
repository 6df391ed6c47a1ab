import base64
import io
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mrkd.reporting.pack import (
    pack_distributions,
    pack_integers,
    pack_layout,
    pack_magnitudes,
    pack_sprite,
)


def unpacked(packed):
    """Unpack as `page/unpack.js` does."""
    integers = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), f"<{np.dtype(packed['type']).str[1:]}")
    return packed["scale"] * integers.reshape(packed["shape"])


@given(arrays(np.int64, (3, 4), elements=st.integers(0, 65535)))
def test_integers_are_packed_exactly(values):
    assert np.array_equal(unpacked(pack_integers(values)), values)


@given(arrays(np.float64, (5,), elements=st.floats(0, 1e6)))
def test_magnitudes_are_packed_to_within_half_a_step(values):
    back = unpacked(pack_magnitudes(values))
    assert np.abs(back - values).max() <= max(values.max(), 1e-300) / 65535 * 0.5001


def test_values_that_are_not_finite_become_zero():
    assert unpacked(pack_magnitudes(np.array([np.nan, 2.0, np.inf]))).tolist() == [0.0, 2.0, 0.0]


def test_packed_distributions_keep_small_values_distinct():
    shares = np.array([[[0.9, 0.06], [0.03, 0.01]], [[0.25, 0.25], [0.25, 0.25]]])
    back = unpacked(pack_distributions(shares)) ** 2
    back /= back.sum(axis=(-2, -1), keepdims=True)
    assert np.abs(back - shares).max() < 0.005
    assert pack_distributions(shares)["type"] == "uint8"


def test_an_empty_distribution_does_not_divide_by_zero():
    assert unpacked(pack_distributions(np.zeros((1, 2, 2)))).sum() == 0


def test_a_layout_keeps_its_shape_inside_the_unit_square():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]])
    back = unpacked(pack_layout(points))
    assert back.min() >= 0
    assert back.max() <= 1
    wide, high = back[1, 0] - back[0, 0], back[2, 1] - back[1, 1]
    assert np.isclose(wide, 2 * high, atol=1e-3)
    assert np.isfinite(unpacked(pack_layout(np.zeros((3, 2))))).all()


def test_a_sprite_of_flat_pictures_is_png_and_keeps_every_pixel():
    images = np.zeros((40, 3, 8, 8), np.uint8)
    images[:, 0] = np.arange(40, dtype=np.uint8)[:, None, None]
    sprite = pack_sprite(images)
    assert sprite["url"].startswith("data:image/png;base64,")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprite["url"].split(",")[1]))).convert("RGB"))
    row, column = divmod(37, sprite["columns"])
    assert (sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] == [37, 0, 0]).all()


def test_a_sprite_of_photographs_is_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64)).astype(np.uint8)
    smooth = np.cumsum(noise, axis=-1, dtype=np.float64)
    smooth = (255 * smooth / smooth.max() + noise / 60).clip(0, 255).astype(np.uint8)
    assert pack_sprite(smooth)["url"].startswith("data:image/jpeg")
