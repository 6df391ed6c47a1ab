"""Regularizers against collapse: KoLeo, and VICReg's variance hinge. Axes: N rows, D embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.kernels.precision import widened
from mrkd.losses.unit_length import unit_length


def koleo(embeddings: Tensor) -> Tensor:
    """KoLeo: minus the mean log distance of each unit vector to its nearest neighbour.

    Args:
        embeddings: (N, D), normalised inside; a zero row stays zero and gets no gradient.
    Returns:
        Scalar, float64 for float64, else float32; lower is more spread out.
    Raises:
        ValueError: not a matrix of at least two rows.
    Source:
        Sablayrolles et al., Spreading vectors for similarity search, ICLR 2019 (arXiv:1806.03198), eq. 3.
    """
    if embeddings.ndim != 2 or embeddings.shape[0] < 2:
        raise ValueError(f"embeddings must have shape (N, D) with N >= 2, got {tuple(embeddings.shape)}")
    unit = unit_length(widened(embeddings))
    with torch.no_grad():
        similarity = unit @ unit.T
        similarity.fill_diagonal_(-2.0)
        neighbour = similarity.argmax(dim=1)
    # Squared distances keep the gradient finite where two rows coincide.
    squared = (unit - unit[neighbour]).square().sum(dim=-1)
    return -0.5 * torch.log(squared + 1e-8).mean()


def variance_hinge(embeddings: Tensor, *, target: float = 1.0) -> Tensor:
    """Keep the std of every channel above a target: mean of max(0, target - std).

    Args:
        embeddings: (N, D).
        target: in the embeddings' units.
    Returns:
        Scalar in [0, target].
    Raises:
        ValueError: not a matrix of at least two rows.
    Source:
        Bardes et al., VICReg, ICLR 2022 (arXiv:2105.04906), eq. 1-2.
    """
    if embeddings.ndim != 2 or embeddings.shape[0] < 2:
        raise ValueError(f"embeddings must have shape (N, D) with N >= 2, got {tuple(embeddings.shape)}")
    std = (widened(embeddings).var(dim=0) + 1e-4).sqrt()
    return F.relu(target - std).mean()
