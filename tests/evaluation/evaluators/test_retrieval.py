"""Ranking of training images by cosine to test images."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from mrkd.evaluation import ranking
from mrkd.evaluation.evaluators.retrieval import EVALUATOR
from mrkd.evaluation.ranking import average_precisions
from tests.helpers.feature_sets import feature_set


def random_sets(gallery=50, queries=11, classes=3):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(count, 6, generator=generator), torch.randint(classes, (count,), generator=generator))
        for count in (gallery, queries)
    ]


def test_precision_is_averaged_over_the_ranks_of_relevant_images():
    angles = torch.tensor([0.1, 0.2, 0.3, 0.4])
    gallery = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = average_precisions(gallery, torch.tensor([1, 0, 1, 0]), torch.tensor([[1.0, 0.0]] * 3), torch.arange(3))
    # Class 1 is at ranks 1 and 3, class 0 at ranks 2 and 4; of class 2 there is nothing.
    assert found.tolist() == pytest.approx([(1 / 2 + 2 / 4) / 2, (1 / 1 + 2 / 3) / 2, 0.0])


def test_the_mean_is_that_of_scikit_learn(tiny_config):
    (gallery, labels), (queries, truth) = random_sets()
    cosine = torch.nn.functional.normalize(queries, dim=1) @ torch.nn.functional.normalize(gallery, dim=1).T
    expected = [average_precision_score(labels == own, row) for own, row in zip(truth, cosine, strict=True)]
    value = EVALUATOR.measure(None, feature_set(gallery, labels), feature_set(queries, truth), tiny_config)
    assert value["map"] == pytest.approx(100 * float(np.mean(expected)), abs=1e-3)


def test_the_length_of_features_and_the_order_of_the_gallery_change_nothing():
    (gallery, labels), (queries, truth) = random_sets()
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(1))
    scaled = gallery * torch.linspace(1, 9, len(gallery))[:, None]
    torch.testing.assert_close(
        average_precisions(scaled[order], labels[order], 3 * queries, truth),
        average_precisions(gallery, labels, queries, truth),
    )


def test_queries_may_come_piece_by_piece(monkeypatch):
    (gallery, labels), (queries, truth) = random_sets()
    whole = average_precisions(gallery, labels, queries, truth)
    monkeypatch.setattr(ranking, "MAX_COSINES", 4 * len(gallery))
    torch.testing.assert_close(average_precisions(gallery, labels, queries, truth), whole)


def test_collapsed_features_are_at_chance_also_when_the_gallery_is_sorted_by_class(tiny_config):
    labels = torch.arange(300) // 100
    same = feature_set(torch.ones(300, 4), labels)
    assert EVALUATOR.measure(None, same, same, tiny_config)["map"] == pytest.approx(100 / 3, abs=3)
