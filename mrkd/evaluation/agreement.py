"""Agreement of two sets of features of the same images. Axes: n images, D width, P = n (n - 1) / 2 pairs."""

import math

import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor


def distance_rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman correlation, in [-1, 1], of the Euclidean distances between n >= 3 images in both sets.

    It is 0 if all distances in a set are equal, as after a collapse.

    Args:
        first: (n, D).
        second: (n, D), or of another width.
    """
    ranks = [torch.from_numpy(rankdata(torch.pdist(part).cpu().numpy())) for part in (first, second)]
    correlation = torch.corrcoef(torch.stack(ranks))[0, 1].item()
    return 0.0 if math.isnan(correlation) else correlation


def neighbour_agreement(first: Tensor, second: Tensor) -> float:
    """Percent of n >= 2 images whose nearest other image by cosine is the same in both sets; 100 if all are equal.

    Args:
        first: (n, D).
        second: (n, D), or of another width.
    """
    neighbours = []
    for part in (first, second):
        unit = F.normalize(part, dim=1)
        cosine = unit @ unit.T
        cosine.fill_diagonal_(-torch.inf)
        neighbours.append(cosine.argmax(dim=1))
    return 100.0 * (neighbours[0] == neighbours[1]).float().mean().item()
