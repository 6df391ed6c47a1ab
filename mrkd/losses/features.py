"""FitNets' hints, BYOL and attention transfer: match features or attention of each token without relations.

Axes: R rows (tokens), D embedding, N patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.checks import check_finite
from mrkd.losses.kernels.distances import check_pair, widened
from mrkd.losses.unit_length import unit_length


def hint(prediction: Tensor, teacher: Tensor, *, standardize: bool = False) -> Tensor:
    """FitNets' hint: mean squared difference between a regressor's output and the teacher's features.

    Args:
        prediction: (R, D), the regressor's output for the student's tokens.
        teacher: (R, D); no gradient flows into it.
        standardize: first normalise each teacher channel to mean 0 and std 1 over the rows, so that a constant
            prediction does not solve the task.
    Returns:
        Scalar >= 0; about 1 at the start when standardised.
    Raises:
        ValueError: the shapes differ, fewer than two rows, or a value is not finite.
    Source:
        Romero et al., FitNets, ICLR 2015 (arXiv:1412.6550), eq. 3.
    """
    check_pair(prediction, teacher)
    if prediction.shape != teacher.shape:
        raise ValueError(f"prediction must have shape {tuple(teacher.shape)}, got {tuple(prediction.shape)}")
    with torch.autocast(prediction.device.type, enabled=False):
        target = widened(teacher.detach())
        if standardize:
            target = (target - target.mean(dim=-2, keepdim=True)) / (target.std(dim=-2, keepdim=True) + 1e-6)
        return F.mse_loss(widened(prediction), target)


def byol(prediction: Tensor, teacher: Tensor) -> Tensor:
    """BYOL: mean squared distance between the unit vectors of a prediction and of the teacher's projection.

    Args:
        prediction: (R, E), the predictor's output for the student's projections.
        teacher: (R, E) projections of another view; no gradient flows into them.
    Returns:
        Scalar in [0, 4]; 2 for unrelated directions.
    Raises:
        ValueError: the shapes differ, fewer than two rows, or a value is not finite.
    Source:
        Grill et al., BYOL, NeurIPS 2020 (arXiv:2006.07733), eq. 2, for one direction of each pair of views.
    """
    check_pair(prediction, teacher)
    if prediction.shape != teacher.shape:
        raise ValueError(f"prediction must have shape {tuple(teacher.shape)}, got {tuple(prediction.shape)}")
    with torch.autocast(prediction.device.type, enabled=False):
        ours, theirs = unit_length(widened(prediction)), unit_length(widened(teacher.detach()))
        return (ours - theirs).square().sum(dim=-1).mean()


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference between attention maps of unit length.

    Args:
        student: (R, N) non-negative maps, one row per image, view and head.
        teacher: (R, N); no gradient flows into it.
    Returns:
        Scalar >= 0.
    Raises:
        ValueError: the shapes differ, or a value is not finite.
    Source:
        Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017 (arXiv:1612.03928), eq. 2.
    """
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(f"maps must both have shape (R, N), got {tuple(student.shape)} and {tuple(teacher.shape)}")
    check_finite(student=student, teacher=teacher)
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs = unit_length(widened(student)), unit_length(widened(teacher.detach()))
        return F.mse_loss(ours, theirs)
