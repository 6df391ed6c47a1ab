"""Segmentation by features of patches."""

import dataclasses

import pytest
import torch

from mrkd.evaluation.evaluators.patches import EVALUATOR
from mrkd.evaluation.segmentation import MaskedPatches, chosen_patches
from mrkd.model.backbone import create_vit
from tests.helpers.feature_sets import feature_set


def halves(count=12, side=32):
    """Bright objects on dark ground: the left, right, upper or lower half of each image."""
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for row, mask in enumerate(masks):
        half = (slice(None), slice(side // 2)) if row % 2 else (slice(side // 2), slice(None))
        mask[half] = True
    noise = torch.randint(0, 60, (count, 3, side, side), generator=torch.Generator().manual_seed(0))
    pixels = (noise + 150 * masks[:, None]).to(torch.uint8)
    return feature_set(torch.zeros(count, 16), None, pixels=pixels, masks=masks)


def patches(masks, grid):
    return MaskedPatches(features=torch.zeros(len(masks), grid[0] * grid[1], 1), grid=grid, masks=masks)


def test_the_score_is_the_mean_of_object_and_background_over_all_pixels():
    masks = torch.tensor([[[True, True], [False, False]]])
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # only the first pixel is found
    assert patches(masks, (2, 2)).mean_iou(scores) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


def test_an_absent_object_that_is_not_found_is_no_mistake():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert patches(masks, (2, 2)).mean_iou(torch.tensor([[1.0, 0.0]] * 4)) == 100.0


def test_a_patch_belongs_to_the_object_that_covers_more_than_half_of_it():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2, 0] = True  # half of the first patch
    masks[0, 2:, 2:] = True
    assert patches(masks, (2, 2)).majority.tolist() == [[0, 0, 0, 1]]


def test_raw_patches_have_the_pixels_of_their_place(tiny_config):
    part = halves()
    found = chosen_patches(None, part.images, tiny_config.model, 10**6)
    assert found.features.shape == (12, 16, 3 * 8 * 8)
    mean_of_patch = found.features.mean(dim=2).view(12, 4, 4)
    bright = mean_of_patch > mean_of_patch.mean()
    assert torch.equal(bright.repeat_interleave(8, 1).repeat_interleave(8, 2), part.images.masks)


def test_bright_objects_are_found_by_networks_and_by_raw_pixels(tiny_config):
    torch.manual_seed(0)
    vit = create_vit(tiny_config.model, 32).eval()
    for network in (vit, None):
        value = EVALUATOR.measure(network, halves(), halves(), tiny_config)
        assert value["linear"] > 90
        assert value["knn"] > 80
        assert value["protocol"]["patches_per_image"] == 16


def test_images_without_masks_are_not_measured(tiny_config):
    part = halves()
    plain = dataclasses.replace(part, images=dataclasses.replace(part.images, masks=None))
    assert EVALUATOR.measure(None, plain, plain, tiny_config) is None


def test_of_many_images_a_fixed_choice_is_taken_with_its_masks(tiny_config):
    part = halves()
    chosen = chosen_patches(None, part.images, tiny_config.model, 5 * 16)
    assert len(chosen) == 5
    again = chosen_patches(None, part.images, tiny_config.model, 5 * 16)
    assert torch.equal(chosen.features, again.features)
    bright = chosen.features.mean(dim=2).view(5, 4, 4) > 0
    assert torch.equal(chosen.majority.view(5, 4, 4).bool(), bright)
