"""FitNets' hints, BYOL and attention transfer: match features or attention of each token without relations.

Axes: R rows (tokens), D embedding, N patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.checks import check_finite, check_pair
from mrkd.losses.kernels.precision import widened
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


def dist(
    prediction: Tensor,
    teacher: Tensor,
    *,
    temperature: float | None = None,
    row_weight: float = 1.0,
    column_weight: float = 1.0,
) -> Tensor:
    """DIST: 1 - Pearson correlation of each row, and of each column, of the student's outputs with the teacher's.

    A row says how the channels of one token relate, a column how the tokens relate in one channel.

    Args:
        prediction: (R, D), the student's logits, or a regressor's output for its tokens.
        teacher: (R, D); no gradient flows into it.
        temperature: of a softmax over the channels before, and its square a factor behind, as the authors have it for
            logits; None compares the outputs themselves.
        row_weight: beta, of the relation within rows.
        column_weight: gamma, of the relation within columns.
    Returns:
        Scalar in [0, 2 (row_weight + column_weight)] without a temperature.
    Raises:
        ValueError: the shapes differ, fewer than two rows or channels, a value that is not finite, or a temperature
            that is not positive.
    Source:
        Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022 (arXiv:2205.10536), eq. 8-10.
    """
    check_pair(prediction, teacher)
    if prediction.shape != teacher.shape or prediction.shape[-1] < 2:
        raise ValueError(
            f"prediction and teacher must have the same shape (R, D) with D >= 2, got {tuple(prediction.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    if temperature is not None and temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    with torch.autocast(prediction.device.type, enabled=False):
        ours, theirs = widened(prediction), widened(teacher.detach())
        factor = 1.0
        if temperature is not None:
            ours, theirs, factor = (ours / temperature).softmax(-1), (theirs / temperature).softmax(-1), temperature**2
        rows = (1.0 - _correlation(ours, theirs, -1)).mean()
        columns = (1.0 - _correlation(ours, theirs, -2)).mean()
        return factor * (row_weight * rows + column_weight * columns)


def _correlation(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """Pearson correlation along an axis, 0 where a side is constant."""
    first, second = (side - side.mean(dim=axis, keepdim=True) for side in (first, second))
    return F.cosine_similarity(first, second, dim=axis)


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
