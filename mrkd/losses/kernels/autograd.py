"""Shared code of RKD-D and RKD-A: argument checks, normalised weights, and registration with autograd.

Both losses compute their derivatives with respect to the distances together with the value.

Axes: G groups, N rows, M anchors, D embedding.
"""

import math
from typing import Any

import torch
from torch import Tensor

from mrkd.losses.checks import check_shapes
from mrkd.losses.kernels.distances import (
    WeightedEmbeddings,
    cut_into_stripes,
    embedding_gradient,
    inverse_scale,
    stripes_size,
)
from mrkd.losses.kernels.precision import wide_dtype


def check_arguments(
    student: Tensor, teacher: Tensor, anchors: Tensor | None, row_weights: Tensor | None, huber_delta: float
) -> None:
    """Raise ValueError for wrong shapes and options; `check_values` looks at the values later."""
    check_shapes(student, teacher)
    if not (huber_delta > 0 and math.isfinite(huber_delta)):
        raise ValueError(f"huber_delta must be positive and finite, got {huber_delta}")
    rows = student.shape[:-1]
    if row_weights is not None:
        if row_weights.shape not in (rows, rows[-1:]):
            expected = f"(N,) = {tuple(rows)}" if len(rows) == 1 else f"(G, N) = {tuple(rows)} or (N,)"
            raise ValueError(f"row_weights must have shape {expected}, got {tuple(row_weights.shape)}")
        if not (row_weights.is_floating_point() or row_weights.dtype == torch.bool):
            raise ValueError(f"row_weights must be floating point or bool, got {row_weights.dtype}")
    if anchors is not None:
        if anchors.ndim not in (2, student.ndim) or (anchors.ndim == 3 and anchors.shape[0] != student.shape[0]):
            raise ValueError(
                f"anchors must have shape (M, D) or, for with_group_axis rows, (G, M, D), got {tuple(anchors.shape)}"
            )
        if not student.shape[-1] == teacher.shape[-1] == anchors.shape[-1]:
            raise ValueError(
                f"with anchors, student, teacher and anchors share D, got {student.shape[-1]}, {teacher.shape[-1]} "
                f"and {anchors.shape[-1]}"
            )
        if anchors.shape[-2] < 1:
            raise ValueError("anchors must have at least 1 row, got 0")


def check_values(weights: Tensor, **scales: Tensor | None) -> None:
    """Raise ValueError for NaN, infinity (both reach the scale) and negative weights, in one read from the device."""
    given = {name: scale for name, scale in scales.items() if scale is not None}
    flags = [scale.isfinite().all() for scale in given.values()]
    *finite, weights_valid = torch.stack([*flags, (weights.isfinite() & (weights >= 0)).all()]).tolist()
    if not weights_valid:
        raise ValueError("row_weights must be finite and >= 0")
    for name, is_finite in zip(given, finite, strict=True):
        if not is_finite:
            raise ValueError(f"{name} must be finite with finite squared norms, got NaN, infinity or overflow")


def nan_unless_finite(value: Tensor, *scales: Tensor) -> Tensor:
    """The value, or NaN if a mean squared norm is not finite: the kernels alone might return a finite number."""
    return value + 0.0 * torch.stack([scale.sum() for scale in scales]).sum()


def normalized_weights(student: Tensor, row_weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weights that sum to 1 in each group.

    Args:
        student: (G, N, D).
        row_weights: (N,), (G, N) or None.
    Returns:
        (G, N) raw weights; (G, N) weights divided by their sum, all zero in a group of fewer than two weighted rows;
        (G,) weight of each group in the mean over groups.
    """
    groups, rows = student.shape[:2]
    dtype = wide_dtype(student)
    if row_weights is None:
        raw = torch.ones(groups, rows, dtype=dtype, device=student.device)
        return raw, raw / rows, torch.full((groups,), 1.0 / groups, dtype=dtype, device=student.device)
    raw = row_weights.to(dtype).expand(groups, rows).contiguous()
    counts = (raw > 0).sum(dim=1) >= 2
    total = torch.where(counts, raw.sum(dim=1), torch.inf)
    return raw, raw / total[:, None], counts.to(dtype) / counts.sum().clamp(min=1)


def wants_gradient(student: Tensor) -> bool:
    """Whether autograd will need the student's gradient; otherwise half of the work is skipped."""
    return student.requires_grad and torch.is_grad_enabled()


def with_group_axis(tensor: Tensor) -> Tensor:
    """(N, D) -> (1, N, D); (G, N, D) stays."""
    return tensor[None] if tensor.ndim == 2 else tensor


def weighted_embeddings(student: Tensor, anchors: Tensor | None, row_weights: Tensor | None) -> WeightedEmbeddings:
    """The student's embeddings and anchors, with row weights that sum to 1 in each group."""
    rows = with_group_axis(student)
    _, weights, _ = normalized_weights(rows, row_weights)
    if anchors is not None:
        anchors = with_group_axis(anchors).to(weights.dtype).expand(len(rows), -1, -1)
    return WeightedEmbeddings(rows, weights, anchors, masked=row_weights is not None)


def fake_outputs(
    student: Tensor, anchors: Tensor | None, stripe_rows: int, need_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(value, edges, scale) without values, for torch.compile; without gradient the last two have no entries."""
    value = student.new_empty((), dtype=wide_dtype(student))
    if not need_gradient:
        return value, value.new_empty(0), value.new_empty(0)
    groups, rows = with_group_axis(student).shape[:2]
    shape = (groups, rows, rows if anchors is None else anchors.shape[-2])
    size = stripes_size(shape, stripe_rows, square=anchors is None)
    return value, value.new_empty(size), value.new_empty(groups)


def register_first_order(operator: Any) -> None:
    """Register the backward pass of an operator that returns (value, edges, scale): `_gradient` of what it saved.

    Saving the N x M edges instead of the N x D gradient saves a copy of the embeddings; the incoming gradient is
    multiplied in where the result is written.

    Args:
        operator: a custom operator whose inputs include student, anchors, row_weights and stripe_rows.
    """
    names = [argument.name for argument in operator._opoverload._schema.arguments]

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        given = dict(zip(names, inputs, strict=True))
        ctx.stripe_rows = given["stripe_rows"]
        ctx.save_for_backward(given["student"], given["anchors"], given["row_weights"], *output[1:])

    def backward(ctx: Any, value_gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[names.index("student")]:
            return (None,) * len(names)  # teacher and anchors get no gradient
        gradient = _gradient(*ctx.saved_tensors, value_gradient, ctx.stripe_rows)
        return tuple(gradient if name == "student" else None for name in names)

    operator.register_autograd(backward, setup_context=setup)


@torch.library.custom_op("mrkd::relation_gradient", mutates_args=())
def _gradient(
    student: Tensor,
    anchors: Tensor | None,
    row_weights: Tensor | None,
    edges: Tensor,
    scale: Tensor,
    value_gradient: Tensor,
    stripe_rows: int,
) -> Tensor:
    with torch.no_grad(), torch.autocast(student.device.type, enabled=False):
        inputs = weighted_embeddings(student, anchors, row_weights)
        stripes = cut_into_stripes(edges, inputs.shape, stripe_rows, square=anchors is None)
        # Multiply first and cast last, so that a loss scale takes effect before a float16 gradient is rounded.
        gradient = embedding_gradient(inputs, stripes, inverse_scale(scale) * value_gradient.to(scale.dtype))
        return gradient.to(student.dtype).view(student.shape)


@_gradient.register_fake
def _(student, anchors, row_weights, edges, scale, value_gradient, stripe_rows):  # type: ignore[no-untyped-def]
    return torch.empty_like(student, memory_format=torch.contiguous_format)


def _refuse(ctx: Any, *_: Any) -> None:
    raise RuntimeError("the relational losses are differentiable once: their second derivative is not implemented")


_gradient.register_autograd(_refuse)
