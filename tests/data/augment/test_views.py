import math

import pytest
import torch
import torchvision.transforms.v2.functional as reference

from mrkd.config import ViewsConfig
from mrkd.data.augment import color as colours
from mrkd.data.augment.geometry import Placement, clamped_to_pixels, draw_placement, warp
from mrkd.data.augment.views import ViewMaker, normalize


def photographs(count: int = 5, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "strengths"),
    [
        (colours.brighten, reference.adjust_brightness, [0.0, 0.6, 1.0, 1.4, 1.9]),
        (colours.contrast, reference.adjust_contrast, [0.0, 0.6, 1.0, 1.4, 1.9]),
        (colours.saturate, reference.adjust_saturation, [0.0, 0.6, 1.0, 1.4, 1.9]),
        (colours.shift_hue, reference.adjust_hue, [-0.5, -0.1, 0.0, 0.07, 0.4]),
    ],
)
def test_a_colour_change_is_torchvisions_with_a_strength_for_each_image(ours, theirs, strengths):
    images = photographs()
    images[0, :, :4] = 0.5  # grey pixels, which have no hue
    changed = ours(images, torch.tensor(strengths))
    for image, result, strength in zip(images, changed, strengths, strict=True):
        # torchvision rounds the weight of red in the luma to 0.2989.
        assert torch.allclose(result, theirs(image, strength), atol=2e-4)


def test_colour_is_dropped_where_it_is_chosen():
    images = photographs(2)
    changed = colours.drop_colour(images, torch.tensor([True, False]))
    assert torch.allclose(changed[0], reference.rgb_to_grayscale(images[0], 3), atol=1e-4)
    assert torch.equal(changed[1], images[1])


def test_blur_is_torchvisions_and_a_sigma_of_zero_changes_nothing():
    images = photographs(2)
    changed = colours.blur(images, torch.tensor([0.8, 0.0]), 2)
    assert torch.allclose(changed[0], reference.gaussian_blur(images[0], [5, 5], [0.8, 0.8]), atol=1e-6)
    assert torch.equal(changed[1], images[1])


def placed(**changes: float) -> Placement:
    values = {"center_x": 0.0, "center_y": 0.0, "half_width": 1.0, "half_height": 1.0, "angle": 0.0, **changes}
    return Placement(**{name: torch.full((1, 5), value) for name, value in values.items()})


def test_a_clamped_grid_gives_the_border_under_any_padding():
    images = photographs()[:, :, :20]
    grid = torch.rand(5, 9, 9, 2, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2
    sample = torch.nn.functional.grid_sample
    border = sample(images, grid, padding_mode="border", align_corners=False)
    clamped = sample(images, clamped_to_pixels(grid, 20, 32), padding_mode="zeros", align_corners=False)
    assert torch.allclose(clamped, border, atol=1e-5)
    assert not torch.allclose(sample(images, grid, padding_mode="zeros", align_corners=False), border, atol=1e-2)


def test_the_whole_image_is_itself_and_a_negative_width_mirrors_it():
    images = photographs()
    assert torch.allclose(warp(images, placed(), 32, rotated=False)[0], images, atol=1e-5)
    assert torch.allclose(warp(images, placed(half_width=-1.0), 32, rotated=False)[0], images.flip(-1), atol=1e-5)


def test_a_crop_is_torchvisions_up_to_its_border():
    images = photographs()
    # Columns 8 to 24 and rows 4 to 28 of 32: torchvision stops at the border where the image goes on.
    crop = warp(images, placed(half_width=0.5, half_height=0.75), 32, rotated=False)[0]
    theirs = reference.resized_crop(images, 4, 8, 24, 16, [32, 32], antialias=False)
    assert torch.allclose(crop[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-5)


def test_a_rotation_is_torchvisions_and_brings_in_black():
    images = photographs() + 0.2
    turned = warp(images, placed(angle=math.radians(20.0)), 32, rotated=True)[0]
    theirs = reference.rotate(images, 20.0, interpolation=reference.InterpolationMode.BILINEAR)
    inside = theirs.amin(dim=(0, 1)) > 0.15
    assert torch.allclose(turned[..., 8:-8, 8:-8], theirs[..., 8:-8, 8:-8], atol=1e-4)
    assert inside.float().mean() < 1.0
    assert turned[..., 0, 0].abs().max() == 0


def test_crops_have_the_area_and_shape_that_were_asked_for_and_lie_within_the_image():
    torch.manual_seed(0)
    place = draw_placement(
        (2, 4000), scale=(0.25, 0.6), ratio=(0.75, 4 / 3), flip=0.3, rotate_degrees=10.0, device=torch.device("cpu")
    )
    width, height = place.half_width.abs(), place.half_height
    area, ratio = width * height, width / height
    assert area.min() >= 0.2499
    assert area.max() <= 0.6001
    assert area.mean().item() == pytest.approx(0.425, abs=0.01)
    assert ratio.log().mean().item() == pytest.approx(0.0, abs=0.02)
    assert ratio.min() >= 0.7499
    assert ratio.max() <= 1.3334
    assert (place.center_x.abs() + width).max() <= 1 + 1e-6
    assert (place.center_y.abs() + height).max() <= 1 + 1e-6
    assert (place.half_width < 0).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert math.degrees(place.angle.abs().max()) == pytest.approx(10.0, abs=0.1)


def test_without_chance_a_view_is_the_image():
    images = (photographs() * 255).to(torch.uint8)
    config = ViewsConfig(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0)
    views, local = ViewMaker(config, 32)(images)
    assert local is None
    assert torch.allclose(views, normalize(images).expand(2, -1, -1, -1, -1), atol=1e-4)


def test_a_share_of_the_views_is_jittered_and_a_share_is_grey():
    torch.manual_seed(0)
    images = (photographs(400, 8) * 255).to(torch.uint8)
    still = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}
    views, _ = ViewMaker(ViewsConfig(**still, jitter=0.7, grey=0.0), 8)(images)
    changed = (views - normalize(images)).abs().amax(dim=(2, 3, 4)) > 1e-3
    assert changed.float().mean().item() == pytest.approx(0.7, abs=0.05)
    views, _ = ViewMaker(ViewsConfig(**still, jitter=0.0, grey=0.25), 8)(images)
    changed = (views - normalize(images)).abs().amax(dim=(2, 3, 4)) > 1e-3
    assert changed.float().mean().item() == pytest.approx(0.25, abs=0.05)
