"""Clustering of features, by k-means or a clustering head, and scores against the classes.

Axes: n images, A augmented copies, D width, C clusters = classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ClusterScores:
    """Agreement between clusters and classes, in percent."""

    acc: float
    """Accuracy under the best one-to-one matching of clusters to classes."""
    nmi: float
    """Normalised mutual information."""
    ari: float
    """Adjusted Rand index; 0 for random clusters."""


def score_clusters(clusters: np.ndarray, labels: np.ndarray) -> ClusterScores:
    """Compare assignments (n,) with labels (n,); clusters are matched to classes by the Hungarian method."""
    classes = _matched_classes(clusters, labels, size=int(max(clusters.max(), labels.max())) + 1)
    return ClusterScores(
        acc=100.0 * float((classes[clusters] == labels).sum()) / len(labels),
        nmi=100.0 * float(normalized_mutual_info_score(labels, clusters)),
        ari=100.0 * float(adjusted_rand_score(labels, clusters)),
    )


def top_accuracy(scores: np.ndarray, labels: np.ndarray, *, top: int) -> float:
    """Percent of images whose class is matched to one of their `top` clusters with the highest scores (n, C).

    Clusters are matched to classes by the single assignments, as in `score_clusters`.
    """
    ranked = np.argsort(-scores, axis=1, kind="stable")
    size = max(scores.shape[1], int(labels.max()) + 1)
    classes = _matched_classes(ranked[:, 0], labels, size=size)
    hits = (classes[ranked[:, :top]] == labels[:, None]).any(axis=1)
    return 100.0 * float(hits.sum()) / len(labels)


def _matched_classes(clusters: np.ndarray, labels: np.ndarray, *, size: int) -> np.ndarray:
    """The class (size,) of each cluster, one to one, with the most images in agreement."""
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (clusters, labels), 1)
    return linear_sum_assignment(table, maximize=True)[1]


def cluster_count(labels: Tensor) -> int:
    """The number of classes that have images; there may be more class names, for example with numeric labels."""
    return len(labels.unique())


def kmeans_clusters(train: Tensor, test: Tensor, *, clusters: int, restarts: int, seed: int) -> np.ndarray:
    """Fit k-means on L2-normalised training features (n, D); assign the test features."""
    model = KMeans(clusters, n_init=restarts, random_state=seed).fit(F.normalize(train, dim=1).cpu().numpy())
    return model.predict(F.normalize(test, dim=1).cpu().numpy())


def fit_cluster_head(views: Tensor, *, clusters: int, epochs: int, seed: int) -> Tensor:
    """Train a linear head on frozen features without labels; return its weights (D + 1, C). The argmax is the cluster.

    The loss asks that augmented copies of an image get the same cluster, and that all clusters are used.

    Args:
        views: (A, n, D) standardised features of A >= 2 augmented copies.
        clusters: number of clusters, C.
        epochs: number of passes over the images.
        seed: seed of initial weights, pairs of copies and data order.
    Source:
        Van Gansbeke et al., SCAN, ECCV 2020 (arXiv:2005.12320), eq. 2, with copies in place of neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    copies, images, width = views.shape
    weights = (0.1 * torch.randn(width + 1, clusters, generator=generator) / width**0.5).to(views.device)
    weights.requires_grad_(True)
    optimizer = torch.optim.Adam([weights], lr=1e-2)
    for _ in range(epochs):
        for index in torch.randperm(images, generator=generator).split(256):
            first, second = torch.randperm(copies, generator=generator)[:2]
            a, b = ((views[copy, index] @ weights[:-1] + weights[-1]).softmax(dim=-1) for copy in (first, second))
            mean = 0.5 * (a.mean(dim=0) + b.mean(dim=0))
            consistency = -((a * b).sum(dim=-1) + 1e-8).log().mean()
            loss = consistency + 5.0 * (mean * (mean + 1e-8).log()).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weights.detach()
