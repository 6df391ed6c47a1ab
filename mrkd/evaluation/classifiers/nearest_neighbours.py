"""Weighted k-NN classification. Axes: n bank images, q queries, D width, C classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_COSINES = 2**27
"""Maximum number of similarities in memory at a time (512 MiB); a bank may have a million images."""


def knn_class_scores(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, *, k: int, temperature: float, classes: int
) -> Tensor:
    """Class scores (q, C): each of the k nearest bank features by cosine adds exp(cosine / temperature) to its class.

    Args:
        bank: (n, D).
        bank_labels: (n,) int64 in [0, C).
        queries: (q, D).
        k: number of neighbours, at most n.
        temperature: divides the cosines.
        classes: number of classes, C.
    Raises:
        ValueError: k is larger than the bank.
    Source:
        Wu et al., CVPR 2018 (arXiv:1805.01978), section 3.4.
    """
    if k > len(bank):
        raise ValueError(f"k must be at most the {len(bank)} bank images, got {k}")
    bank = F.normalize(bank, dim=1)
    scores = []
    together = max(1, min(1024, MAX_COSINES // len(bank)))
    for part in F.normalize(queries, dim=1).split(together):
        cosine, index = (part @ bank.T).topk(k, dim=1)
        # Subtracting the maximum avoids overflow and does not change the ranking.
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        votes = torch.zeros(len(part), classes, device=bank.device)
        scores.append(votes.scatter_add_(1, bank_labels[index], weight))
    return torch.cat(scores)
