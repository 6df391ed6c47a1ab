"""k-NN of corrupted test images."""

import pytest
import torch

from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores
from mrkd.evaluation.corruption import CORRUPTIONS, corrupt
from mrkd.evaluation.evaluators.corruptions import EVALUATOR, SHOWN
from mrkd.evaluation.features import extract
from mrkd.model.backbone import create_vit
from tests.helpers.feature_sets import feature_set


def corrupted(pixels, name, seed=0):
    return corrupt(pixels, name, torch.Generator().manual_seed(seed))


def grey(value, count=2, side=32):
    return torch.full((count, 3, side, side), value, dtype=torch.uint8)


def checkerboard(side=32):
    board = (torch.arange(side)[:, None] + torch.arange(side)) % 2
    return (255 * board).to(torch.uint8).expand(1, 3, side, side)


@pytest.mark.parametrize("name", ["blur", "jpeg", "contrast"])
def test_an_even_image_stays_as_it_is(name):
    torch.testing.assert_close(corrupted(grey(100), name), grey(100), rtol=0, atol=1)


def test_noise_has_its_strength_and_depends_on_the_seed_alone():
    noisy = corrupted(grey(128, count=20), "noise")
    assert (noisy.float() / 255).std().item() == pytest.approx(0.08, abs=0.003)
    assert torch.equal(noisy, corrupted(grey(128, count=20), "noise"))
    assert not torch.equal(noisy, corrupted(grey(128, count=20), "noise", seed=1))


def test_contrast_is_lowered_around_the_mean_of_each_channel():
    pixels = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    pixels[0, 0] = torch.tensor([[0, 100], [100, 200]])
    assert corrupted(pixels, "contrast")[0, 0].tolist() == [[60, 100], [100, 140]]
    assert corrupted(pixels, "contrast")[0, 1].tolist() == [[0, 0], [0, 0]]


def test_blur_and_jpeg_remove_detail():
    board = checkerboard()
    # A Gaussian of 0.7 pixels damps the highest frequency to about exp(-(0.7 pi)² / 2) in each direction.
    assert corrupted(board, "blur").float().std() < 10 < board.float().std()
    edge = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    edge[:, 0, :, 17:] = 255
    assert not torch.equal(corrupted(edge, "jpeg"), edge)


def test_test_images_are_corrupted_and_training_images_are_not(tiny_config):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 3
    torch.manual_seed(0)
    vit = create_vit(tiny_config.model, 32).eval()
    part = feature_set(extract(vit, pixels), labels, pixels=pixels)
    value = EVALUATOR.measure(vit, part, part, tiny_config)
    queries = extract(vit, corrupted(pixels, "jpeg", tiny_config.evaluation.seed))
    votes = knn_class_scores(part.features, labels, queries, k=20, temperature=0.07, classes=3)
    assert value["jpeg"] == pytest.approx(accuracy(votes, labels))
    assert value["mean"] == pytest.approx(sum(value[name] for name in CORRUPTIONS) / len(CORRUPTIONS))
    assert EVALUATOR.measure(vit, part, part, tiny_config) == value


def test_every_corruption_has_a_column():
    assert list(SHOWN) == list(CORRUPTIONS)
