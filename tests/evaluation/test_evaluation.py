import math

import numpy as np
import pytest
import torch

from mrkd.evaluation import clustering
from mrkd.evaluation.classifiers import linear
from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores
from mrkd.evaluation.classifiers.sgd_probe import fit_probes
from mrkd.evaluation.collapse import diagnose, feature_std, rankme


def blobs(count: int, classes: int = 3, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % classes
    centers = torch.eye(width)[:classes] * 5
    return centers[labels] + 0.1 * torch.randn(count, width), labels


def test_knn_votes_are_weighted_by_similarity():
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    votes = knn_class_scores(
        bank, torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0.0]]), k=3, temperature=0.07, classes=2
    )
    # Cosines 1, 0 and 0.0995: the one exact neighbour outweighs the two far ones.
    assert votes[0, 0].item() == pytest.approx(1.0)
    assert votes[0, 1].item() == pytest.approx(math.exp(-1 / 0.07) + math.exp((0.0995037 - 1) / 0.07), rel=1e-3)


def test_knn_separates_blobs_and_refuses_too_many_neighbours():
    bank, labels = blobs(60)
    queries, truth = blobs(30)
    assert accuracy(knn_class_scores(bank, labels, queries, k=5, temperature=0.07, classes=3), truth) == 100.0
    with pytest.raises(ValueError, match="at most the 60 bank images"):
        knn_class_scores(bank, labels, queries, k=61, temperature=0.07, classes=3)


def test_top_five_accuracy_counts_any_of_the_five_highest():
    scores = torch.arange(10.0).repeat(2, 1)
    assert accuracy(scores, torch.tensor([5, 4]), top=5) == 50.0


def test_the_linear_probe_learns_what_is_linear():
    features, labels = blobs(90)
    weights = fit_probes(features, labels, classes=3, learning_rates=(0.01, 0.1), epochs=20, batch=30, seed=0)
    queries, truth = blobs(30)
    scores = linear.predict(queries, weights)
    assert scores.shape == (2, 30, 3)
    assert accuracy(scores[1], truth) == 100.0


def test_accuracies_are_computed_in_chunks(monkeypatch):
    features, labels = blobs(90)
    weights = fit_probes(features, labels, classes=3, learning_rates=(0.01, 0.1), epochs=2, batch=30, seed=0)
    queries, truth = torch.randn(50, 8), torch.arange(50) % 3
    whole = [accuracy(scores, truth) for scores in linear.predict(queries, weights)]
    monkeypatch.setattr(linear, "MAX_SCORES", 6 * 7)
    assert linear.accuracies(queries, truth, weights) == pytest.approx(whole)


def test_clusters_are_matched_to_classes_independently_of_their_numbers():
    labels = np.array([0, 0, 1, 1, 2, 2])
    scores = clustering.score_clusters(np.array([2, 2, 0, 0, 1, 1]), labels)
    assert (scores.acc, scores.nmi, scores.ari) == pytest.approx((100.0, 100.0, 100.0))
    assert clustering.score_clusters(np.array([2, 2, 0, 0, 1, 0]), labels).acc == pytest.approx(100 * 5 / 6)


def test_the_five_most_likely_clusters_stand_for_the_classes_that_are_matched_to_them():
    # Clusters 0, 1, 2 are matched to classes 1, 2, 0. The last image's best cluster is 0 and its second best is 2.
    scores = np.array([[3, 1, 2], [3, 2, 1], [1, 3, 2], [2, 1, 3], [3, 1, 2]], dtype=float)
    labels = np.array([1, 1, 2, 0, 0])
    assert clustering.top_accuracy(scores, labels, top=1) == pytest.approx(80.0)
    assert clustering.top_accuracy(scores, labels, top=2) == pytest.approx(100.0)
    assert clustering.top_accuracy(scores, labels, top=1) == clustering.score_clusters(scores.argmax(1), labels).acc


def test_the_clustering_head_finds_separated_groups_without_labels():
    torch.manual_seed(0)
    features, labels = blobs(300)
    views = torch.stack([features, features + 0.05 * torch.randn_like(features)])
    weights = clustering.fit_cluster_head(views, clusters=3, epochs=30, seed=0)
    clusters = linear.predict(features, weights).argmax(dim=1).numpy()
    assert clustering.score_clusters(clusters, labels.numpy()).acc > 90


def test_rankme_counts_the_directions_in_use():
    torch.manual_seed(0)
    full, flat = torch.randn(2000, 10), torch.randn(2000, 2) @ torch.randn(2, 10)
    assert rankme(full) == pytest.approx(10, abs=0.2)
    assert rankme(flat + 100.0) < 2.1


def test_each_collapse_is_named():
    healthy = {"feature_std": 0.05, "rank": 40.0, "width": 64, "teacher_entropy": 2.0, "prototypes": 64}
    assert diagnose(**healthy).kind == "healthy"
    assert diagnose(**{**healthy, "feature_std": 1e-7}).kind == "constant"
    assert diagnose(**{**healthy, "teacher_entropy": math.log(64)}).kind == "uniform"
    assert diagnose(**{**healthy, "rank": 1.5}).kind == "rank"
    assert feature_std(torch.ones(5, 3)) == 0.0
