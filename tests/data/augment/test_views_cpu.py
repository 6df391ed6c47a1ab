import os

import pytest
import torch

from mrkd.data.augment import color as colours
from mrkd.data.augment import views_cpu
from mrkd.data.augment.geometry import draw_placement, warp, warp_anywhere


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 32), (20, 28, 16), (9, 40, 48), (2, 2, 5)])
def test_a_compiled_crop_is_that_of_plain_torch(height, width, size):
    images = torch.rand(5, 3, height, width)
    placement = draw_placement(
        (3, 5), scale=(0.05, 1), ratio=(0.5, 2), flip=0.5, rotate_degrees=0, device=images.device
    )
    ours, plain = (form(images, placement, size, rotated=False) for form in (warp, warp_anywhere))
    assert ours.shape == plain.shape
    assert torch.allclose(ours, plain, atol=1e-5)


@pytest.mark.usefixtures("threads")
def test_a_compiled_shift_of_hue_is_that_of_plain_torch():
    images = torch.rand(7, 3, 13, 13)
    images[0] = 0.5  # grey has no hue
    images[1, :, :3] = torch.eye(3)[:, :, None]  # pure colours
    images[2, :2] = images[2, :1]  # two channels alike
    turns = torch.tensor([0.3, -0.5, 0.5, 0.0, 1.0, -0.1, 0.1])
    assert torch.allclose(colours.shift_hue(images, turns), colours.shift_hue_anywhere(images, turns), atol=1e-5)


def test_a_crop_of_the_whole_image_is_the_image_and_its_mirror():
    images = torch.rand(2, 3, 8, 8)
    first_x = torch.tensor([[0.0, 0.0], [7.0, 7.0]])
    steps = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    views = views_cpu.crop(images, (first_x, steps), (torch.zeros(2, 2), torch.ones(2, 2)), 8)
    assert torch.equal(views[0], images)
    assert torch.equal(views[1], images.flip(-1))


def test_threads_are_there_again_after_a_fork():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    images, turns = torch.rand(4, 3, 4, 4), torch.rand(4)
    expected = views_cpu.shift_hue(images, turns)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(views_cpu.shift_hue(images, turns), expected) else 1)
    torch.set_num_threads(before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
