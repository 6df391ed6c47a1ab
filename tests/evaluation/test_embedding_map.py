import dataclasses

import numpy as np
import torch

from mrkd.data.resident import ResidentDataset
from mrkd.evaluation.embedding import embedding_map
from mrkd.evaluation.features import FeatureSet


def two_groups(count):
    torch.manual_seed(0)
    labels = torch.arange(count) % 2
    centres = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    features = 5 * centres[labels] + 0.1 * torch.randn(count, 4)
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    return FeatureSet(images=ResidentDataset(images=images, labels=labels, class_names=("a", "b")), features=features)


def test_neighbours_and_clusters_follow_the_features():
    shown = embedding_map(two_groups(40), limit=100, seed=0)
    labels = shown["labels"]
    assert shown["neighbours"].shape == (40, 8)
    assert (labels[shown["neighbours"]] == labels[:, None]).all()
    assert not (shown["neighbours"] == np.arange(40)[:, None]).any()
    assert len(set(zip(shown["clusters"], labels, strict=True))) == 2
    assert shown["explained"][0] > 0.9
    assert shown["tsne"].shape == (40, 2)
    assert shown["features"].shape == (40, 4)
    np.testing.assert_allclose(np.linalg.norm(shown["features"].astype(np.float64), axis=1), 1, atol=2e-3)


def test_all_runs_show_the_same_images(tmp_path):
    test = two_groups(60)
    first = embedding_map(test, limit=20, seed=0)
    second = embedding_map(dataclasses.replace(test, features=torch.randn(60, 4)), limit=20, seed=5)
    assert first["images"].shape == (20, 3, 4, 4)
    assert np.array_equal(first["images"], second["images"])
