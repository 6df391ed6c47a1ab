"""RKD-D with its gradient worked out by hand: half of two N x N matrices, no autograd graph through them.

docs/methods.md derives the gradient. Axes: G groups, N rows, M other ends (the rows, or the anchors), D embedding.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mrkd.losses.checks import checks_values
from mrkd.losses.kernels.autograd import (
    check_arguments,
    check_values,
    fake_outputs,
    frame_of,
    grouped,
    nan_unless_finite,
    register_first_order,
    unit_weights,
    wants_gradient,
)
from mrkd.losses.kernels.distances import Stripe, cut_into_stripes, measure_stripes, sum_dtype

_BLOCK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Entries treated at once: blocks stay in the CPU's cache, and fill a GPU."""
_STRIPE_ROWS = {"cpu": 256, "cuda": 2048}
"""Rows of the distances that are computed at once, up to the diagonal: large enough for a fast matrix product."""


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

    Each distance matrix is divided by its own mean over positive entries, so the loss ignores either scale. The
    student's mean carries gradient, as in the authors' code. The loss is the mean of Huber over all N^2 entries.

    Args:
        student: (N, D_student) or (G, N, D_student) embeddings, not necessarily normalised.
        teacher: (N, D_teacher) or (G, N, D_teacher) embeddings; no gradient flows into them.
        anchors: (M, D) or (G, M, D), D_student = D_teacher = D: distances from the rows to the anchors, mean over N M
            entries, instead of those between rows. No gradient flows into them.
        row_weights: (N,) or (G, N), bool or >= 0. An entry weighs w_i w_j / (sum w)^2, with anchors w_j / (M sum w), in
            the mean distance too, so a bool mask gives exactly the loss of the subset. Rows of weight zero may hold
            anything. A group of fewer than two weighted rows gives zero and does not count.
        standardize: divide the differences by the standard deviation of the teacher's normalised distances: the
            weighted population one, in each group, over the positive entries. Unrelated features then score about 0.7
            in any dimension. A teacher whose distances are all equal to rounding (standard deviation below 1e-5, in
            float64 1e-10) is not standardised.
        huber_delta: where Huber turns from quadratic to linear, on the differences after division; 1 is smooth-L1.
    Returns:
        Scalar >= 0, dimensionless, mean over the groups that count; float64 for float64, else float32.
    Raises:
        ValueError: wrong shapes or options, N < 2, or, unless compiling, a value that is not finite.
        RuntimeError: differentiated twice.
    Source:
        Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068), eq. 5-7.
    """
    check_arguments(student, teacher, anchors, row_weights, huber_delta)
    check = checks_values()
    need = wants_gradient(student)
    height = _STRIPE_ROWS.get(student.device.type, 2048)
    value, *_ = _distance(student, teacher, anchors, row_weights, standardize, huber_delta, height, need, check)
    return value


@torch.library.custom_op("mrkd::rkd_distance", mutates_args=())
def _distance(
    student: Tensor,
    teacher: Tensor,
    anchors: Tensor | None,
    row_weights: Tensor | None,
    standardize: bool,
    huber_delta: float,
    height: int,
    need_gradient: bool,
    check: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad(), torch.autocast(student.device.type, enabled=False):
        frame = frame_of(student, anchors, row_weights)
        raw, weights, share = unit_weights(frame.embeddings, row_weights)
        target, target_scale = measure_stripes(replace(frame, embeddings=grouped(teacher)), height)
        edges, scale = measure_stripes(frame, height)
        if check:
            check_values(raw, student=scale, teacher=target_scale)
        ours, aims = (cut_into_stripes(flat, frame.shape, height, square=anchors is None) for flat in (edges, target))
        ends = weights if anchors is None else weights.new_full((len(weights), frame.shape[2]), 1.0 / frame.shape[2])
        loss = _loss_and_slope(ours, aims, weights, ends, share, standardize, huber_delta)
        if not check:
            loss = nan_unless_finite(loss, scale, target_scale)
        if not need_gradient:
            return loss, loss.new_empty(0), loss.new_empty(0)
        # `ours` now holds dL / dd over d. In the square form d_ij and d_ji are one distance; what is mirrored counted
        # twice already.
        if anchors is None:
            for stripe in ours:
                stripe.entries[..., : stripe.mirrored] *= 2.0
        return loss, edges, scale


@_distance.register_fake
def _(student, teacher, anchors, row_weights, standardize, huber_delta, height, need_gradient, check):  # type: ignore[no-untyped-def]
    return fake_outputs(student, anchors, height, need_gradient)


register_first_order(_distance)


def _loss_and_slope(
    ours: list[Stripe],
    target: list[Stripe],
    rows: Tensor,
    ends: Tensor,
    share: Tensor,
    standardize: bool,
    huber_delta: float,
) -> Tensor:
    """The loss from squared distances; `ours` becomes its derivative over the distance, `target` is lost."""
    inverse_mean, count = _take_roots(ours, rows, ends)
    target_inverse_mean, target_count = _take_roots(target, rows, ends)
    per_group = (slice(None), None, None)
    inverse_deviation = torch.ones_like(share)
    if standardize:
        variance = _relative_variance(target, rows, ends, target_inverse_mean) / target_count
        varies = variance.sqrt() > (1e-5 if rows.dtype == torch.float32 else 1e-10)
        inverse_deviation = torch.where(varies, torch.where(varies, variance, 1.0).rsqrt(), 1.0).to(share.dtype)
    loss, radial = torch.zeros_like(inverse_mean), torch.zeros_like(inverse_mean)  # (G,)
    unit, target_unit = (
        (inverse * inverse_deviation)[per_group].to(share.dtype) for inverse in (inverse_mean, target_inverse_mean)
    )
    for (distance, row_weights, end_weights), (aim, _, _) in zip(
        _blocks(ours, rows, share[:, None] * ends), _blocks(target, rows, ends), strict=True
    ):
        difference = (distance * unit).sub_(aim.mul_(target_unit))
        slope = difference.clamp(-huber_delta, huber_delta)
        weighted = torch.mul(slope, row_weights, out=aim).mul_(end_weights)
        loss += difference.sub_(slope, alpha=0.5).mul_(weighted).sum(dim=(1, 2))
        weighted.mul_(inverse_deviation[per_group])
        radial += torch.mul(weighted, distance, out=slope).sum(dim=(1, 2))
    # Every distance moves every difference through the mean: d(d_ij / m) / d d_kl = ... - d_ij w_kl / (m^2 count).
    through_mean = (radial * inverse_mean.square() / count).to(share.dtype)
    for (distance, row_weights, end_weights), (slope, _, _) in zip(
        _blocks(ours, rows, through_mean[:, None] * ends), _blocks(target, rows, ends), strict=True
    ):
        slope.mul_(inverse_mean.to(share.dtype)[per_group]).sub_(row_weights * end_weights)
        distance.copy_(slope * torch.where(distance > 0, 1.0 / distance, 0.0))
    return loss.sum().to(share.dtype)


def _take_roots(squared: list[Stripe], rows: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Distances in place of their squares; (G,) one over their weighted mean, and the weight of the positive ones."""
    total, count = (torch.zeros(len(rows), dtype=sum_dtype(rows.device), device=rows.device) for _ in range(2))
    for entries, row_weights, end_weights in _blocks(squared, rows, ends):
        distance = entries.sqrt_()
        total += ((distance * end_weights).sum(dim=2, keepdim=True) * row_weights).sum(dim=(1, 2))
        count += ((end_weights * (distance > 0)).sum(dim=2, keepdim=True) * row_weights).sum(dim=(1, 2))
    # With every row equal there is no scale; zero keeps value and gradient at zero.
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(total > 0, count / total.clamp(min=tiny), 0.0), count.clamp(min=tiny)


def _relative_variance(distances: list[Stripe], rows: Tensor, ends: Tensor, inverse_mean: Tensor) -> Tensor:
    """(G,) weighted sum of (d / mean - 1)^2 over positive entries."""
    total = torch.zeros_like(inverse_mean)
    for distance, row_weights, end_weights in _blocks(distances, rows, ends):
        deviation = distance * inverse_mean.to(rows.dtype)[:, None, None] - 1.0
        deviation.square_().mul_(distance > 0)
        total += ((deviation * end_weights).sum(dim=2, keepdim=True) * row_weights).sum(dim=(1, 2))
    return total


def _blocks(stripes: list[Stripe], rows: Tensor, ends: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Entries (G, J, K), weights of their rows (G, J, 1) and of their ends (G, 1, K), twice for a mirrored entry."""
    for stripe in stripes:
        of_ends, of_rows = stripe.weights(ends)[:, None], rows[:, stripe.rows, None]
        groups, height, width = stripe.entries.shape
        block = max(1, _BLOCK_ELEMENTS.get(rows.device.type, 1 << 22) // (groups * width))
        for start in range(0, height, block):
            here = slice(start, start + block)
            yield stripe.entries[:, here], of_rows[:, here], of_ends
