"""RKD-D: the distance loss, with a hand-written gradient that stores only half of two N x N matrices.

docs/methods.md derives the gradient. A distance goes from a row to an end: another row, or an anchor.

Axes: G groups, N rows, M ends, D embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mrkd.losses.checks import checks_values
from mrkd.losses.kernels.autograd import (
    check_arguments,
    check_values,
    fake_outputs,
    nan_unless_finite,
    normalized_weights,
    register_first_order,
    wants_gradient,
    weighted_embeddings,
    with_group_axis,
)
from mrkd.losses.kernels.distances import Stripe, cut_into_stripes, squared_distance_stripes
from mrkd.losses.kernels.precision import sum_dtype

_BLOCK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Number of entries processed at once: small enough for a CPU's cache, large enough to fill a GPU."""
_STRIPE_ROWS = {"cpu": 256, "cuda": 2048}
"""Number of rows of the distance matrix computed at once, up to the diagonal: enough for a fast matrix product."""


def rkd_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    standardize: bool = False,
    huber_delta: float = 1.0,
) -> Tensor:
    """Match the student's pairwise distances to the teacher's.

    Each distance matrix is divided by its mean over pairs of two different rows, so the loss ignores the scale of
    either side. Two equal rows are such a pair, at distance zero: the paper's mean is over all pairs, and the authors'
    code raises their distance to 1e-6, so that its mean over positive entries includes them. Gradients also flow
    through the student's mean, as in the authors' code. The loss is the mean of Huber over all N^2 entries.

    Args:
        student: (N, D_student) or (G, N, D_student) embeddings, not necessarily normalised.
        teacher: (N, D_teacher) or (G, N, D_teacher) embeddings; no gradient flows into them.
        anchors: (M, D) or (G, M, D), where D_student = D_teacher = D. Compares the distances from rows to anchors (mean
            over N M entries), instead of those between rows. No gradient flows into them.
        row_weights: (N,) or (G, N), bool or >= 0. The weight of an entry is w_i w_j / (sum w)^2, or w_j / (M sum w)
            with anchors, also in the mean distance, so a bool mask gives exactly the loss of the subset. Rows of weight
            zero may hold any values. A group of fewer than two weighted rows is left out of the mean over groups. A row
            of weight 2 is not the same as two equal rows, which are also a pair with each other.
        standardize: divide the differences by the standard deviation of the teacher's normalised distances. It is the
            weighted population one, in each group, over pairs of two different rows. The loss of unrelated features is
            then about 0.7 in any dimension. A teacher whose distances are equal up to rounding (standard deviation
            below 1e-5, or 1e-10 in float64) is not standardised.
        huber_delta: the difference at which Huber turns from quadratic to linear, after any division; 1 is smooth-L1.
    Returns:
        Scalar >= 0, dimensionless, mean over the groups that count; float64 for float64, else float32.
    Raises:
        ValueError: wrong shapes or options, N < 2, or (except under torch.compile) a value that is not finite.
        RuntimeError: the loss is differentiated twice.
    Source:
        Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068), eq. 5-8.
    """
    check_arguments(student, teacher, anchors, row_weights, huber_delta)
    check = checks_values()
    need_gradient = wants_gradient(student)
    stripe_rows = _STRIPE_ROWS.get(student.device.type, 2048)
    value, *_ = _distance(
        student, teacher, anchors, row_weights, standardize, huber_delta, stripe_rows, need_gradient, check
    )
    return value


@torch.library.custom_op("mrkd::rkd_distance", mutates_args=())
def _distance(
    student: Tensor,
    teacher: Tensor,
    anchors: Tensor | None,
    row_weights: Tensor | None,
    standardize: bool,
    huber_delta: float,
    stripe_rows: int,
    need_gradient: bool,
    check: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad(), torch.autocast(student.device.type, enabled=False):
        inputs = weighted_embeddings(student, anchors, row_weights)
        raw, weights, group_weight = normalized_weights(inputs.embeddings, row_weights)
        target_edges, target_scale = squared_distance_stripes(
            replace(inputs, embeddings=with_group_axis(teacher)), stripe_rows
        )
        edges, scale = squared_distance_stripes(inputs, stripe_rows)
        if check:
            check_values(raw, student=scale, teacher=target_scale)
        student_stripes, teacher_stripes = (
            cut_into_stripes(flat, inputs.shape, stripe_rows, square=anchors is None) for flat in (edges, target_edges)
        )
        ends = weights if anchors is None else weights.new_full((len(weights), inputs.shape[2]), 1.0 / inputs.shape[2])
        pairs = _Pairs(weights, ends, square=anchors is None)
        loss = _loss_and_slope(student_stripes, teacher_stripes, pairs, group_weight, standardize, huber_delta)
        if not check:
            loss = nan_unless_finite(loss, scale, target_scale)
        if not need_gradient:
            return loss, loss.new_empty(0), loss.new_empty(0)
        # `student_stripes` now holds (dL / dd) / d. Without anchors d_ij and d_ji are one distance, so each derivative
        # counts twice; mirrored entries had that factor already.
        if anchors is None:
            for stripe in student_stripes:
                stripe.entries[..., : stripe.mirrored] *= 2.0
        return loss, edges, scale


@_distance.register_fake
def _(student, teacher, anchors, row_weights, standardize, huber_delta, stripe_rows, need_gradient, check):  # type: ignore[no-untyped-def]
    return fake_outputs(student, anchors, stripe_rows, need_gradient)


register_first_order(_distance)


@dataclass(frozen=True)
class _Pairs:
    """The weights of a matrix of distances: an entry (n, m) has the weight rows_n ends_m."""

    rows: Tensor
    """(G, N)."""
    ends: Tensor
    """(G, M)."""
    square: bool
    """Whether the ends are the rows, so that an entry of the diagonal is no pair."""

    def total(self) -> Tensor:
        """(G,) the weight of all pairs of two different points, equal or not; float64, float32 on MPS."""
        rows = self.rows.to(sum_dtype(self.rows.device))
        total = rows.sum(dim=1)
        count = total.square() - rows.square().sum(dim=1) if self.square else total
        return count.clamp(min=torch.finfo(torch.float32).tiny)  # a group without weights has none


def _loss_and_slope(
    student_stripes: list[Stripe],
    teacher_stripes: list[Stripe],
    pairs: _Pairs,
    group_weight: Tensor,
    standardize: bool,
    huber_delta: float,
) -> Tensor:
    """The loss, from squared distances. Overwrites the student's with (dL / dd) / d, the teacher's as scratch."""
    rows, ends, count = pairs.rows, pairs.ends, pairs.total()
    inverse_mean = count * _square_roots_in_place(student_stripes, pairs)
    target_inverse_mean = count * _square_roots_in_place(teacher_stripes, pairs)
    per_group = (slice(None), None, None)
    inverse_deviation = torch.ones_like(group_weight)
    if standardize:
        variance = _relative_variance(teacher_stripes, pairs, target_inverse_mean) / count
        varies = variance.sqrt() > (1e-5 if rows.dtype == torch.float32 else 1e-10)
        inverse_deviation = torch.where(varies, torch.where(varies, variance, 1.0).rsqrt(), 1.0).to(group_weight.dtype)
    loss, radial = torch.zeros_like(inverse_mean), torch.zeros_like(inverse_mean)  # (G,)
    unit, target_unit = (
        (inverse * inverse_deviation)[per_group].to(group_weight.dtype)
        for inverse in (inverse_mean, target_inverse_mean)
    )
    for (distance, row_weights, end_weights), (teacher_distance, _, _) in zip(
        _blocks(student_stripes, rows, group_weight[:, None] * ends), _blocks(teacher_stripes, rows, ends), strict=True
    ):
        difference = (distance * unit).sub_(teacher_distance.mul_(target_unit))
        slope = difference.clamp(-huber_delta, huber_delta)
        weighted = torch.mul(slope, row_weights, out=teacher_distance).mul_(end_weights)
        loss += difference.sub_(slope, alpha=0.5).mul_(weighted).sum(dim=(1, 2))
        weighted.mul_(inverse_deviation[per_group])
        radial += torch.mul(weighted, distance, out=slope).sum(dim=(1, 2))
    # Every distance changes every difference through the mean: d(d_ij / m) / d d_kl = ... - d_ij w_kl / (m^2 count).
    through_mean = (radial * inverse_mean.square() / count).to(group_weight.dtype)
    for (distance, row_weights, end_weights), (slope, _, _) in zip(
        _blocks(student_stripes, rows, through_mean[:, None] * ends), _blocks(teacher_stripes, rows, ends), strict=True
    ):
        slope.mul_(inverse_mean.to(group_weight.dtype)[per_group]).sub_(row_weights * end_weights)
        distance.copy_(slope * torch.where(distance > 0, 1.0 / distance, 0.0))
    return loss.sum().to(group_weight.dtype)


def _square_roots_in_place(squared: list[Stripe], pairs: _Pairs) -> Tensor:
    """Replace squared distances by distances; return (G,) float64, the inverse of their weighted sum."""
    total = torch.zeros(len(pairs.rows), dtype=sum_dtype(pairs.rows.device), device=pairs.rows.device)
    for entries, row_weights, end_weights in _blocks(squared, pairs.rows, pairs.ends):
        total += ((entries.sqrt_() * end_weights).sum(dim=2, keepdim=True) * row_weights).sum(dim=(1, 2))
    # When all rows are equal the sum is zero; an inverse of zero then keeps value and gradient at zero.
    return torch.where(total > 0, 1.0 / total.clamp(min=torch.finfo(torch.float32).tiny), 0.0)


def _relative_variance(distances: list[Stripe], pairs: _Pairs, inverse_mean: Tensor) -> Tensor:
    """(G,) weighted sum of (d / mean - 1)^2 over pairs of two different points."""
    total = torch.zeros_like(inverse_mean)
    diagonals = [stripe.entries.diagonal(dim1=1, dim2=2) for stripe in distances] if pairs.square else []
    for diagonal in diagonals:  # at the mean, the diagonal adds nothing
        diagonal.copy_(torch.where(inverse_mean > 0, 1.0 / inverse_mean, 0.0)[:, None].expand_as(diagonal))
    for distance, row_weights, end_weights in _blocks(distances, pairs.rows, pairs.ends):
        deviation = (distance * inverse_mean.to(pairs.rows.dtype)[:, None, None] - 1.0).square_()
        total += ((deviation * end_weights).sum(dim=2, keepdim=True) * row_weights).sum(dim=(1, 2))
    for diagonal in diagonals:
        diagonal.zero_()
    return total


def _blocks(stripes: list[Stripe], rows: Tensor, ends: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Entries (G, J, K), their row weights (G, J, 1) and end weights (G, 1, K), doubled for mirrored entries."""
    for stripe in stripes:
        of_ends, of_rows = stripe.weights(ends)[:, None], rows[:, stripe.rows, None]
        groups, stripe_rows, width = stripe.entries.shape
        block = max(1, _BLOCK_ELEMENTS.get(rows.device.type, 1 << 22) // (groups * width))
        for start in range(0, stripe_rows, block):
            here = slice(start, start + block)
            yield stripe.entries[:, here], of_rows[:, here], of_ends
