"""Losses between the relations of two sets of embeddings, rather than between the embeddings.

Axes: G groups, N relation size, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.angle import rkd_angle
from mrkd.losses.potentials import check_pair, pairwise_distance

__all__ = ["rkd_angle", "rkd_distance"]


def _mean_normalized_distance(embeddings: Tensor) -> Tensor:
    distance = pairwise_distance(embeddings)
    mean = distance.sum(dim=(-2, -1), keepdim=True) / (distance > 0).sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    # With every row equal there is no scale; dividing by one keeps value and gradient at zero.
    return distance / torch.where(mean > 0, mean, torch.ones_like(mean))


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Match the student's pairwise distances to the teacher's.

    Each distance matrix is divided by its own mean over positive entries, so the loss ignores either scale. The
    student's mean carries gradient, as in the authors' code.

    Args:
        student: (N, D_student) or (G, N, D_student) embeddings, not necessarily normalised.
        teacher: (N, D_teacher) or (G, N, D_teacher) embeddings; no gradient flows into them.
    Returns:
        Scalar >= 0, dimensionless: smooth-L1 averaged over all N * N entries, and over the groups.
    Raises:
        ValueError: wrong ranks, the numbers of rows differ, N < 2, or a value is not finite.
    Source:
        Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068), eq. 5-7.
    """
    check_pair(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        with torch.no_grad():
            target = _mean_normalized_distance(teacher)
        ours = _mean_normalized_distance(student)
        return F.smooth_l1_loss(ours, target.to(ours.dtype))
