import numpy as np
import pytest
import torch

from mrkd.config import DataConfig
from mrkd.data.load import load
from mrkd.data.sources.shapes import SHAPES, draw_shapes
from mrkd.errors import UserError


def test_shapes_are_the_same_at_every_call_and_neither_tiny_nor_huge():
    first = draw_shapes(32, "test")
    draw_shapes.cache_clear()
    second = draw_shapes(32, "test")
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
    assert ((first.masks.mean(axis=(1, 2)) > 0.02) & (first.masks.mean(axis=(1, 2)) < 0.45)).all()
    assert len(SHAPES) == 6
    assert np.bincount(first.labels).tolist() == [84, 84, 83, 83, 83, 83]


@pytest.mark.parametrize(
    ("name", "area"),
    [("disc", np.pi), ("ring", np.pi * 0.75), ("square", 2.25), ("triangle", 3 * 3**0.5 / 4)],
)
def test_outlines_have_the_area_of_their_shapes(name, area):
    axis = (np.arange(800) + 0.5) / 400 - 1
    inside = SHAPES[name](axis[None, :], axis[:, None]) < 0
    assert inside.mean() * 4 == pytest.approx(area, rel=0.01)


def test_every_outline_stays_within_the_unit_circle():
    axis = (np.arange(601) - 300) / 200
    x, y = np.meshgrid(axis, axis)
    for name, outline in SHAPES.items():
        inside = outline(x, y) < 0
        assert np.hypot(x, y)[inside].max() <= 1.07, name


def test_masks_follow_their_images_through_splits_and_limits():
    everything = load(DataConfig(source="shapes"))
    few = load(DataConfig(source="shapes", train_images=30, test_images=20, holdout="validation"))
    assert few.train.masks.shape == (30, 32, 32)
    assert few.test.masks.shape == (20, 32, 32)
    pairs = zip(everything.train.images, everything.train.masks, strict=True)
    known = {image.numpy().tobytes(): mask for image, mask in pairs}
    for image, mask in zip(few.test.images, few.test.masks, strict=True):
        assert torch.equal(known[image.numpy().tobytes()], mask)


def test_the_object_differs_from_its_background():
    images, masks, _ = draw_shapes(32, "test")
    grey = images.mean(axis=1)
    differences = [abs(image[mask].mean() - image[~mask].mean()) for image, mask in zip(grey, masks, strict=True)]
    assert np.median(differences) > 40


def test_too_small_a_picture_is_refused():
    with pytest.raises(UserError, match="at least 16 pixels for shapes, got 8"):
        load(DataConfig(source="shapes", size=8))


def test_an_unknown_source_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'shapes'"):
        load(DataConfig(source="shape"))
