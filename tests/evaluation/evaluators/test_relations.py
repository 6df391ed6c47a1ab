"""Agreement of two views of the same images."""

import pytest
import torch
from scipy.stats import spearmanr

from mrkd.evaluation.agreement import distance_rank_correlation, neighbour_agreement
from mrkd.evaluation.evaluators.relations import EVALUATOR
from mrkd.model.backbone import create_vit
from tests.helpers.feature_sets import feature_set


def noise(count=30, width=6, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_distances_in_the_same_order_correlate_fully_and_in_reverse_order_inversely():
    first = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 3, 2
    assert distance_rank_correlation(first, torch.tensor([[0.0], [1.0], [9.0]])) == pytest.approx(1.0)  # 1, 9, 8
    assert distance_rank_correlation(first, torch.tensor([[0.0], [3.0], [1.0]])) == pytest.approx(-1.0)  # 3, 1, 2


def test_the_correlation_is_that_of_scipy_also_with_equal_distances():
    first, second = noise().round(), (noise() + noise(seed=1)).round()
    expected = spearmanr(torch.pdist(first).numpy(), torch.pdist(second).numpy()).statistic
    assert distance_rank_correlation(first, second) == pytest.approx(expected, abs=1e-6)


def test_rotation_and_scale_of_one_view_change_neither_number():
    first, second = noise(), noise() + 0.5 * noise(seed=1)
    moved = 3 * second @ torch.linalg.qr(noise(6, seed=2)).Q
    assert distance_rank_correlation(first, moved) == pytest.approx(distance_rank_correlation(first, second), abs=1e-3)
    assert neighbour_agreement(first, moved) == neighbour_agreement(first, second)
    assert 0 < distance_rank_correlation(first, second) < 1


def test_collapsed_views_have_no_correlation():
    assert distance_rank_correlation(torch.ones(5, 3), torch.ones(5, 3)) == 0.0


def test_neighbours_are_compared_image_by_image():
    angles = torch.tensor([0.0, 0.1, 1.0, 1.2])
    moved = torch.tensor([0.0, 0.4, 0.7, 1.2])  # the second and the third are neighbours now
    first, second = (torch.stack([part.cos(), part.sin()], dim=1) for part in (angles, moved))
    assert neighbour_agreement(first, second) == 50.0
    assert neighbour_agreement(first, 7 * first) == 100.0


def test_both_are_measured_on_the_same_views_for_every_network(tiny_config):
    pixels = torch.randint(0, 256, (30, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    part = feature_set(torch.zeros(30, 16), None, pixels=pixels)
    torch.manual_seed(0)
    vit = create_vit(tiny_config.model, 32).eval()
    value = EVALUATOR.measure(vit, part, part, tiny_config)
    assert -1 <= value["spearman"] <= 1
    assert 0 <= value["same_neighbour"] <= 100
    assert EVALUATOR.measure(vit, part, part, tiny_config) == value
    two = feature_set(torch.zeros(2, 16), None, pixels=pixels[:2])
    assert EVALUATOR.measure(vit, two, two, tiny_config) is None
