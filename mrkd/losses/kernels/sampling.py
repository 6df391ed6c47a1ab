"""A random subset of the rows in place of all of them. Axes: G groups, N rows, m drawn rows, D embedding."""

from typing import TypeVar

import torch
from torch import Tensor

from mrkd.losses.kernels.autograd import with_group_axis
from mrkd.losses.kernels.precision import wide_dtype

_Number = TypeVar("_Number", float, Tensor)


def sample_rows(
    student: Tensor, teacher: Tensor, row_weights: Tensor | None, count: int
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Draw rows without replacement in each group, by torch's global generator of the student's device.

    A mean over the triplets of distinct rows, as (sum of w)^-3 times the sum of w_i w_j w_k l_ijk, becomes an unbiased
    estimate when that of the drawn rows is multiplied by the group's factor: (drawn weight / all weight)^3 times the
    number of all triplets over that of the drawn ones.

    Args:
        student: (N, D) or (G, N, D).
        teacher: the same rows.
        row_weights: (N,), (G, N) or None; rows of weight zero are drawn only where no others are left.
        count: m, 3 to N.
    Returns:
        student and teacher (G, m, D), row_weights (G, m) or None, factors (G,).
    Raises:
        ValueError: `count` outside 3 to N.
    """
    student, teacher = with_group_axis(student), with_group_axis(teacher)
    groups, rows = student.shape[:2]
    if not 3 <= count <= rows:
        raise ValueError(f"sampled_rows must be between 3 and the number of rows, {rows}, got {count}")
    keys = torch.rand(groups, rows, device=student.device)
    if row_weights is not None:
        row_weights = row_weights.expand(groups, rows)
        keys = keys.masked_fill(row_weights <= 0, 2.0)  # these come last
    drawn = keys.argsort(dim=1)[:, :count]
    students, teachers = (side.gather(1, drawn[..., None].expand(-1, -1, side.shape[2])) for side in (student, teacher))
    if row_weights is None:
        factor = _triplets(rows) / _triplets(count) * (count / rows) ** 3
        return students, teachers, None, torch.full((groups,), factor, dtype=wide_dtype(student), device=student.device)
    weights = row_weights.to(wide_dtype(student))
    chosen = weights.gather(1, drawn)
    every = (weights > 0).sum(dim=1).to(weights.dtype)
    kept = every.clamp(max=count)
    share = torch.where(every > 0, chosen.sum(dim=1) / torch.where(every > 0, weights.sum(dim=1), 1.0), 0.0)
    factors = torch.where(kept > 2, _triplets(every) / _triplets(kept).clamp(min=1.0), 1.0) * share**3
    return students, teachers, chosen, factors


def _triplets(rows: _Number) -> _Number:
    return rows * (rows - 1) * (rows - 2)
