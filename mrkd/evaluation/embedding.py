"""The map of test images in the report: PCA, t-SNE, clusters and neighbours. Axes: n images, D width."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from mrkd.evaluation.features import FeatureSet

FEWEST_ON_MAP = 10
"""Minimum number of images for a map."""
NEIGHBOURS = 8
PERPLEXITY = 30.0
THUMBNAIL = 32
"""Side of thumbnails in pixels; larger images are reduced to it."""
_CHOICE_SEED = 0
"""Fixed seed of the choice of images, so that maps of several runs show the same ones."""


def embedding_map(test: FeatureSet, *, limit: int, seed: int) -> dict[str, np.ndarray]:
    """Lay out at most `limit` test images by their L2-normalised features.

    Args:
        test: n labelled images and their features.
        limit: maximum number of images; m, the number of images in the map, is min(limit, n).
        seed: seed of t-SNE and k-means.
    Returns:
        images (m, 3, s, s) uint8, s at most 32; labels (m,); class_names; pca, tsne (m, 2) float32; explained (2,),
        fraction of the variance along the PCA's axes; clusters (m,), as many as classes among them; neighbours (m, 8),
        positions of the nearest others by cosine; perplexity (); features (m, D) float16, L2-normalised, by which runs
        are compared.
    """
    generator = torch.Generator().manual_seed(_CHOICE_SEED)
    index = torch.randperm(len(test), generator=generator)[:limit].sort().values
    shown = test.images.take(index.to(test.images.device)).in_memory()
    unit = F.normalize(test.features[index.to(test.features.device)], dim=1).cpu()
    points = unit.numpy().astype(np.float64)  # only double precision makes the layouts reproducible
    pca = PCA(2, svd_solver="full")
    flat = pca.fit_transform(points)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    clusters = KMeans(len(shown.require_labels("the map").unique()), n_init=3, random_state=seed).fit_predict(points)
    return {
        "images": _thumbnails(shown.images).cpu().numpy(),
        "labels": shown.require_labels("the map").cpu().numpy(),
        "class_names": np.array(shown.class_names, dtype=np.str_),
        "pca": flat.astype(np.float32),
        "explained": pca.explained_variance_ratio_.astype(np.float32),
        "tsne": tsne.astype(np.float32),
        "clusters": clusters.astype(np.int32),
        "neighbours": _neighbours(unit).numpy(),
        "perplexity": np.array(perplexity, dtype=np.float32),
        "features": unit.numpy().astype(np.float16),
    }


def _thumbnails(images: Tensor) -> Tensor:
    if images.shape[-1] <= THUMBNAIL:
        return images
    return F.interpolate(images.float(), size=(THUMBNAIL, THUMBNAIL), mode="area").round().to(torch.uint8)


def _neighbours(unit: Tensor) -> Tensor:
    cosine = unit @ unit.T
    cosine.fill_diagonal_(-torch.inf)
    return cosine.topk(min(NEIGHBOURS, len(unit) - 1), dim=1).indices
