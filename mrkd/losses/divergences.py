"""Divergences between the student's relation matrix and the teacher's. The table `DIVERGENCES` names them.

Each takes two matrices (G, N, M) and `valid` (G, N, M) bool, and returns a scalar, the mean over groups.
Axes: G groups, N rows, M columns.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.centering import sinkhorn_knopp
from mrkd.losses.pairing import NOWHERE, masked_mean
from mrkd.losses.unit_length import unit_length


def huber(
    student: Tensor, teacher: Tensor, valid: Tensor, *, standardize: bool = False, huber_delta: float = 1.0
) -> Tensor:
    """Huber loss between entries; `standardize` divides differences by the std of the teacher's valid entries."""
    return masked_mean(
        F.huber_loss(*_scaled(student, teacher, valid, standardize), reduction="none", delta=huber_delta), valid
    )


def squared(student: Tensor, teacher: Tensor, valid: Tensor, *, standardize: bool = False) -> Tensor:
    """Squared difference between entries; `standardize` as in `huber`."""
    student, teacher = _scaled(student, teacher, valid, standardize)
    return masked_mean((student - teacher).square(), valid)


def _scaled(student: Tensor, teacher: Tensor, valid: Tensor, standardize: bool) -> tuple[Tensor, Tensor]:
    if not standardize:
        return student, teacher
    count = valid.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    mean = (teacher * valid).sum(dim=(1, 2), keepdim=True) / count
    variance = ((teacher - mean).square() * valid).sum(dim=(1, 2), keepdim=True) / count
    # If the teacher's relations are all equal, their deviation is zero; dividing by 1 keeps value and gradient finite.
    scale = torch.where(variance > 0, variance, torch.ones_like(variance)).rsqrt()
    return student * scale, teacher * scale


def row_normalized_squared(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """SPKD: squared difference between rows scaled to unit length."""
    student, teacher = (unit_length(matrix * valid) for matrix in (student, teacher))
    return masked_mean((student - teacher).square(), valid)


def cross_entropy(
    student: Tensor,
    teacher: Tensor,
    valid: Tensor,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
    sinkhorn_iterations: int = 0,
) -> Tensor:
    """Cross-entropy between softmax rows, nats; `sinkhorn_iterations` > 0 balances the teacher's columns first."""
    targets = _row_targets(teacher, valid, teacher_temperature, sinkhorn_iterations)
    return _row_cross_entropy(student, targets, valid, student_temperature)


def kl(
    student: Tensor,
    teacher: Tensor,
    valid: Tensor,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
    sinkhorn_iterations: int = 0,
) -> Tensor:
    """Kullback-Leibler divergence between softmax rows, nats: the cross-entropy minus the targets' entropy."""
    targets = _row_targets(teacher, valid, teacher_temperature, sinkhorn_iterations)
    entropy = masked_mean(-torch.xlogy(targets, targets).sum(dim=-1), valid.any(dim=-1))
    return _row_cross_entropy(student, targets, valid, student_temperature) - entropy


@torch.no_grad()
def _row_targets(teacher: Tensor, valid: Tensor, temperature: float, sinkhorn_iterations: int) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"teacher_temperature must be positive, got {temperature}")
    if sinkhorn_iterations:
        return sinkhorn_knopp(teacher, temperature=temperature, iterations=sinkhorn_iterations, valid=valid)
    return (teacher.masked_fill(~valid, NOWHERE) / temperature).softmax(dim=-1)


def _row_cross_entropy(student: Tensor, targets: Tensor, valid: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"student_temperature must be positive, got {temperature}")
    log_rows = (student.masked_fill(~valid, NOWHERE) / temperature).log_softmax(dim=-1)
    return masked_mean(-(targets * log_rows).sum(dim=-1), valid.any(dim=-1))


def probability_kl(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """PKT: KL between rows of (1 + cosine) / 2, each row divided by its sum; mean over entries. Needs cosines."""

    def probabilities(cosines: Tensor) -> Tensor:
        affinity = 0.5 * (1.0 + cosines) * valid
        return affinity / affinity.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(cosines.dtype).tiny)

    student_probs, teacher_probs = probabilities(student), probabilities(teacher)
    epsilon = 1e-7  # as in the authors' code; the logarithm of zero is not finite
    return masked_mean(teacher_probs * ((teacher_probs + epsilon) / (student_probs + epsilon)).log(), valid)


def pearson(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """1 - Pearson correlation over the valid entries of each group: in [0, 2], about 1 for unrelated sides."""
    count = valid.sum(dim=(1, 2), keepdim=True).clamp(min=1)

    def deviations(matrix: Tensor) -> Tensor:
        mean = (matrix * valid).sum(dim=(1, 2), keepdim=True) / count
        return ((matrix - mean) * valid).flatten(1)

    correlation = F.cosine_similarity(deviations(student), deviations(teacher), dim=1)
    counted = valid.flatten(1).any(dim=1)
    return masked_mean((1.0 - correlation)[:, None], counted[:, None])


def cka(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """1 - centred kernel alignment: the cosine between both matrices after subtracting row and column means."""

    def centered(matrix: Tensor) -> Tensor:
        matrix = matrix * valid
        rows = matrix.sum(dim=2, keepdim=True) / valid.sum(dim=2, keepdim=True).clamp(min=1)
        matrix = (matrix - rows) * valid
        columns = matrix.sum(dim=1, keepdim=True) / valid.sum(dim=1, keepdim=True).clamp(min=1)
        return ((matrix - columns) * valid).flatten(1)

    alignment = F.cosine_similarity(centered(student), centered(teacher), dim=1)
    counted = valid.flatten(1).any(dim=1)
    return masked_mean((1.0 - alignment)[:, None], counted[:, None])


def listwise(
    student: Tensor, teacher: Tensor, valid: Tensor, *, length: int = 4, alpha: float = 3.0, beta: float = 3.0
) -> Tensor:
    """Negative Plackett-Luce log-likelihood of the teacher's order of its `length` nearest columns.

    Needs distances: a column at distance d has score -alpha d^beta.
    """
    length = min(length, student.shape[-1])
    order = teacher.masked_fill(~valid, -NOWHERE).argsort(dim=-1)[..., :length]  # (G, N, length)
    scores = (-alpha * student.clamp(min=0.0).pow(beta)).gather(2, order)
    counted = valid.gather(2, order)
    scores = scores.masked_fill(~counted, NOWHERE)
    # The logsumexp over each position and all later ones, computed from the back.
    remaining = scores.flip(-1).logcumsumexp(dim=-1).flip(-1)
    return masked_mean(torch.where(counted, remaining - scores, 0.0).sum(dim=-1), counted.any(dim=-1))


DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "huber": huber,
    "squared": squared,
    "row-normalized-squared": row_normalized_squared,
    "cross-entropy": cross_entropy,
    "kl": kl,
    "probability-kl": probability_kl,
    "pearson": pearson,
    "cka": cka,
    "listwise": listwise,
}
"""Name -> function of two matrices and their valid entries."""

NEEDS_DISTANCES = frozenset({"listwise"})
NEEDS_COSINES = frozenset({"probability-kl"})
SOFTMAX_ROWS = frozenset({"cross-entropy", "kl"})
WITH_DIAGONAL = frozenset({"huber", "squared", "row-normalized-squared", "probability-kl", "cka"})
"""Divergences that include a row's relation to itself, as their authors do; the others leave the diagonal out."""
