"""Raw pixels in the place of features."""

import pytest
import torch

from mrkd.data.resident import ResidentDataset
from mrkd.evaluation import pixels
from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores
from mrkd.evaluation.pixels import evaluate_pixels, pixel_features


def images(count, side=32):
    generator = torch.Generator().manual_seed(count)
    values = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return ResidentDataset(images=values, labels=torch.arange(count) % 4, class_names=tuple("abcd"))


def test_pixels_are_centred_by_the_training_mean():
    train, test = pixel_features(images(40), images(12))
    assert train.features.mean(dim=0).abs().max() < 1e-6
    raw = images(40).images.float().flatten(1) / 255
    expected = images(12).images.float().flatten(1) / 255 - raw.mean(dim=0)
    torch.testing.assert_close(test.features, expected)


def test_large_images_are_averaged_down():
    train, _ = pixel_features(images(8, side=96), images(4, side=96))
    assert train.features.shape == (8, 3 * 32**2)


def test_of_too_many_training_images_a_sample_is_taken(monkeypatch):
    monkeypatch.setattr(pixels, "MOST_TRAINING_IMAGES", 40)
    train, test = pixel_features(images(60), images(30))
    assert (len(train), len(test)) == (40, 30)
    assert train.labels("test").bincount().tolist() == [10, 10, 10, 10]


def test_pixels_are_measured_as_an_evaluation_is(tiny_config):
    results = evaluate_pixels(tiny_config)
    assert results.keys() == {"knn", "linear", "few_shot", "data", "seconds", "measured_with"}
    assert (results["data"]["train_images"], results["data"]["test_images"]) == (200, 100)
    from mrkd.data.load import load

    splits = load(tiny_config.data)
    train, test = pixel_features(splits.train, splits.require_test())
    scores = knn_class_scores(
        train.features, train.labels("test"), test.features, k=20, temperature=0.07, classes=train.classes
    )
    assert results["knn"]["acc1"] == pytest.approx(accuracy(scores, test.labels("test")))
