"""The checked inputs of a relational loss: rows, the columns they are compared with, and masks for both.

Axes: G groups, N rows, M columns, D embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mrkd.losses.checks import check_pair
from mrkd.losses.kernels.precision import widened

NOWHERE = -1e9
"""Logit of an excluded column: finite, with zero probability after a softmax."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Checked inputs of a relation, in float32 or float64, with a group axis."""

    student: Tensor
    """(G, N, D_student)."""
    teacher: Tensor
    """(G, N, D_teacher), no gradient."""
    student_columns: Tensor
    """(G, M, D_student): the student's rows, or the anchors."""
    teacher_columns: Tensor
    """(G, M, D_teacher): the teacher's rows, or the anchors."""
    row_mask: Tensor
    """(G, N) bool, True where a row counts."""
    column_mask: Tensor
    """(G, M) bool, True where a column counts."""
    columns_are_rows: bool
    """Whether rows and columns are the same embeddings, so that the diagonal carries no information."""

    def valid(self, *, diagonal: bool) -> Tensor:
        """(G, N, M) bool: the pairs that count; `diagonal` False leaves out a row's relation to itself."""
        pairs = self.row_mask[:, :, None] & self.column_mask[:, None, :]
        if diagonal:
            return pairs
        return pairs & ~torch.eye(pairs.shape[1], pairs.shape[2], dtype=torch.bool, device=pairs.device)


def make_pairing(student: Tensor, teacher: Tensor, anchors: Tensor | None, row_weights: Tensor | None) -> Pairing:
    """Check the inputs of a relation and bring them to one form.

    Args:
        student: (N, D) or (G, N, D).
        teacher: the same rows.
        anchors: (M, D) or (G, M, D), the embeddings that both sides compare their rows with. None compares rows with
            each other.
        row_weights: (N,) or (G, N) bool, True where a row counts; None counts all. (Only RKD's two losses accept
            numbers, and they do not come here.)
    Raises:
        ValueError: wrong ranks, unequal numbers of rows, fewer than two rows, values that are not finite, anchors of
            another width or number of groups, or row_weights of another shape or type.
    """
    check_pair(student, teacher)
    grouped = student.ndim == 3
    student, teacher = (widened(t if grouped else t[None]) for t in (student, teacher.detach()))
    teacher = teacher.to(student.dtype)
    groups, count = student.shape[:2]
    if row_weights is None:
        row_mask = torch.ones(groups, count, dtype=torch.bool, device=student.device)
    else:
        if row_weights.dtype != torch.bool:
            raise ValueError(f"row_weights must be bool for this relation, got {row_weights.dtype}")
        row_mask = row_weights if grouped else row_weights[None]
        if row_mask.shape != (groups, count):
            raise ValueError(f"row_weights must have shape (G, N) = {(groups, count)}, got {tuple(row_mask.shape)}")
    if anchors is None:
        row_mask = row_mask & (row_mask.sum(dim=1, keepdim=True) >= 2)  # a single row has no relation
        return Pairing(
            student=student,
            teacher=teacher,
            student_columns=student,
            teacher_columns=teacher,
            row_mask=row_mask,
            column_mask=row_mask,
            columns_are_rows=True,
        )
    anchors = widened(anchors.detach() if anchors.ndim == 3 else anchors.detach()[None]).to(student.dtype)
    for name, tensor in (("student", student), ("teacher", teacher)):
        if anchors.shape[0] != groups or anchors.shape[2] != tensor.shape[2]:
            raise ValueError(
                f"anchors must have shape (G, M, D) with G = {groups} and {name}'s D = {tensor.shape[2]}, "
                f"got {tuple(anchors.shape)}"
            )
    return Pairing(
        student=student,
        teacher=teacher,
        student_columns=anchors,
        teacher_columns=anchors,
        row_mask=row_mask,
        column_mask=torch.ones(anchors.shape[:2], dtype=torch.bool, device=student.device),
        columns_are_rows=False,
    )


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of each group's valid entries, averaged over the groups that have any.

    Args:
        values: (G, ...).
        valid: the same shape, bool.
    Returns:
        Scalar; zero without valid entries.
    """
    counted = valid.flatten(1)
    count = counted.sum(dim=1)
    # `where`, because a product would keep the NaN of an excluded entry.
    total = torch.where(counted, values.flatten(1), torch.zeros_like(values.flatten(1))).sum(dim=1)
    means = total / count.clamp(min=1)
    return means.sum() / (count > 0).sum().clamp(min=1)
