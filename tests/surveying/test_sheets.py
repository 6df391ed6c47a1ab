"""Contact sheets."""

import numpy as np
from PIL import Image

from mrkd.surveying.sheets import draw_images


def test_captions_are_no_mathematics_and_hold_nothing_that_a_font_lacks(tmp_path, recwarn):
    images = [np.zeros((8, 8, 3), dtype=np.uint8)] * 3
    draw_images(tmp_path / "a.png", images, [r"$\frac$", "cat\x1b[2J\n", "\u732b"], "shop $\\x$\n\x1b")
    assert Image.open(tmp_path / "a.png").size[0] > 100
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
