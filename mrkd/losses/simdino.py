"""SimDINO: the student's features are near the teacher's of another view, and their coding rate is high.

Axes: V views, B images, E embedding.
"""

import torch
from torch import Tensor

from mrkd.losses.checks import check_finite
from mrkd.losses.kernels.precision import widened
from mrkd.losses.unit_length import unit_length


def simdino(student: Tensor, teacher: Tensor, *, epsilon: float = 0.5, rate: float = 1.0) -> Tensor:
    """Half the squared distance of unit vectors across views, minus the coding rate of the student's global views.

    There are no prototypes, temperatures or centres. The distance is the mean over pairs of a teacher view and a
    different student view. The coding rate is multiplied by the authors' factor (B + E) / (B E).

    Args:
        student: (V_student, B, E) embeddings, normalised inside; the first V_teacher views are the teacher's own.
        teacher: (V_teacher, B, E) embeddings; no gradient flows into them.
        epsilon: as in `coding_rate`.
        rate: weight of the coding rate.
    Returns:
        Scalar; float64 for float64, else float32.
    Raises:
        ValueError: shapes differ, B < 2, no pair of different views, a value is not finite, or epsilon is not positive.
    Source:
        Wu et al., Simplifying DINO via Coding Rate Regularization, 2025 (arXiv:2502.10385); the authors'
        code has the cosine in place of half the squared distance, which is 1 minus the cosine.
    """
    if student.ndim != 3 or student.shape[1:] != teacher.shape[1:] or len(student) < len(teacher):
        raise ValueError(
            f"student must have shape (V, B, E) with (B, E) = {tuple(teacher.shape[1:])} and V >= {len(teacher)}, "
            f"got {tuple(student.shape)}"
        )
    if len(student) < 2:
        raise ValueError("the distance needs two different views, got one")
    check_finite(student=student, teacher=teacher)
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs = unit_length(widened(student)), unit_length(widened(teacher.detach()))
        cosines = torch.einsum("qbe,vbe->qv", theirs, ours) / ours.shape[1]  # (V_teacher, V_student)
        pairs = ~torch.eye(*cosines.shape, dtype=torch.bool, device=cosines.device)
        distance = 1.0 - (cosines * pairs).sum() / (cosines.numel() - len(theirs))
        count, width = ours.shape[1:]
        balance = (count + width) / (count * width)
        return distance - rate * balance * coding_rate(ours[: len(theirs)], epsilon=epsilon)


def coding_rate(rows: Tensor, *, epsilon: float = 0.5) -> Tensor:
    """Nats needed to code a row up to a distortion: half the log-determinant of 1 + E / (B epsilon) Z^T Z.

    Args:
        rows: (B, E) or (V, B, E); the result is the mean over V.
        epsilon: squared distortion.
    Returns:
        Scalar >= 0.
    Raises:
        ValueError: not a matrix of at least two rows, or epsilon is not positive.
    Source:
        Yu et al., Learning Diverse and Discriminative Representations via the Principle of Maximal Coding Rate
        Reduction, NeurIPS 2020 (arXiv:2006.08558).
    """
    if rows.ndim not in (2, 3) or rows.shape[-2] < 2:
        raise ValueError(f"rows must have shape (B, E) or (V, B, E) with B >= 2, got {tuple(rows.shape)}")
    if epsilon <= 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}")
    count, width = rows.shape[-2:]
    # 1 + c Z^T Z and 1 + c Z Z^T have one determinant; the smaller matrix is cheaper.
    gram = rows.mT @ rows if width <= count else rows @ rows.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor, _ = torch.linalg.cholesky_ex(identity + width / (count * epsilon) * gram)
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1).mean()
