"""The rank of the LDA matrix of views."""

import math

import pytest
import torch

from mrkd.evaluation.discriminant import lidar
from mrkd.evaluation.evaluators.lidar import EVALUATOR, VIEWS
from mrkd.model.backbone import create_vit
from tests.helpers.feature_sets import feature_set


def views(*, images=200, copies=4, width=6, noise=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(images, width, generator=generator)
    return means + noise * torch.randn(copies, images, width, generator=generator)


def test_it_is_the_effective_rank_of_the_whitened_means():
    means = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    spread = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    # S_w is the identity, S_b has the variances 8/3 and 2/3: fractions 0.8 and 0.2.
    expected = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert lidar(torch.stack([means + spread, means - spread])) == pytest.approx(expected, rel=1e-4)


def test_directions_in_which_views_differ_as_much_as_images_do_not_count():
    found = views(noise=0.1)
    noisy = found.clone()
    noisy[..., 3:] += 30 * torch.randn(noisy[..., 3:].shape, generator=torch.Generator().manual_seed(1))
    assert lidar(found) > 5.5
    assert lidar(noisy) < 3.5


def test_scale_shift_rotation_and_order_change_nothing():
    found = views()
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2))).Q
    moved = (1e-3 * found @ rotation + 5)[[2, 0, 3, 1]].flip(1)
    assert lidar(moved) == pytest.approx(lidar(found), rel=1e-3)


def test_collapsed_features_have_one_direction():
    assert lidar(torch.ones(3, 20, 6)) == pytest.approx(1.0, abs=0.01)


def test_it_is_measured_on_views_of_the_evaluations_augmentation(tiny_config):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8)
    part = feature_set(torch.zeros(40, 16), None, pixels=pixels)
    torch.manual_seed(0)
    vit = create_vit(tiny_config.model, 32).eval()
    value = EVALUATOR.measure(vit, part, part, tiny_config)
    assert 1 < value["lidar"] <= 16
    assert (value["protocol"]["images"], value["protocol"]["views"]) == (40, VIEWS)
    assert EVALUATOR.measure(vit, part, part, tiny_config) == value
    one = feature_set(torch.zeros(1, 16), None, pixels=pixels[:1])
    assert EVALUATOR.measure(vit, one, one, tiny_config) is None
