"""Average precision of images ranked by cosine. Axes: n gallery images, q queries, B of them at a time, D width."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_COSINES = 2**23
"""Similarities ranked at a time; with their order and the precisions, under 1 GiB in all."""


def average_precisions(gallery: Tensor, gallery_labels: Tensor, queries: Tensor, labels: Tensor) -> Tensor:
    """Average precision (q,) in [0, 1] of the whole gallery ranked for each query; images of its class are relevant.

    It is the mean, over the relevant images, of the fraction of relevant ones among those up to its rank; 0 where
    nothing is relevant. Images that are equally near come in a fixed random order, so that the order of the gallery,
    which is often sorted by class, has no influence.

    Args:
        gallery: (n, D).
        gallery_labels: (n,) int64.
        queries: (q, D).
        labels: (q,) int64.
    """
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(0)).to(gallery.device)
    gallery, gallery_labels = F.normalize(gallery[order], dim=1), gallery_labels[order]
    ranks = torch.arange(1, len(gallery) + 1, device=gallery.device)
    together = max(1, MAX_COSINES // len(gallery))
    found = []
    for part, own in zip(F.normalize(queries, dim=1).split(together), labels.split(together), strict=True):
        ranked = (part @ gallery.T).sort(dim=1, descending=True, stable=True).indices  # (B, n)
        relevant = gallery_labels[ranked] == own[:, None]
        precision = relevant.cumsum(dim=1, dtype=torch.int32) / ranks
        found.append((precision * relevant).sum(dim=1) / relevant.sum(dim=1).clamp(min=1))
    return torch.cat(found)
