"""What the two relational losses share: argument checks, normalised weights, and an autograd node for a loss that
computes its gradient along with its value. Axes: G groups, N rows, M anchors, D embedding.
"""

import math
from typing import Any

import torch
from torch import Tensor

from mrkd.losses.potentials import check_shapes, wide_dtype


def check_arguments(
    student: Tensor, teacher: Tensor, anchors: Tensor | None, row_weights: Tensor | None, huber_delta: float
) -> None:
    """Refuse wrong shapes and options; values are looked at later, once, by `check_values`."""
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
                f"anchors must have shape (M, D) or, for grouped rows, (G, M, D), got {tuple(anchors.shape)}"
            )
        if not student.shape[-1] == teacher.shape[-1] == anchors.shape[-1]:
            raise ValueError(
                f"with anchors, student, teacher and anchors share D, got {student.shape[-1]}, {teacher.shape[-1]} "
                f"and {anchors.shape[-1]}"
            )
        if anchors.shape[-2] < 1:
            raise ValueError("anchors must have at least 1 row, got 0")


def check_values(weights: Tensor, **scales: Tensor | None) -> None:
    """Refuse NaN and infinity (they reach the mean squared norm) and negative weights, with one look at the device."""
    given = {name: scale for name, scale in scales.items() if scale is not None}
    flags = [scale.isfinite().all() for scale in given.values()]
    *finite, weights_valid = torch.stack([*flags, (weights.isfinite() & (weights >= 0)).all()]).tolist()
    if not weights_valid:
        raise ValueError("row_weights must be finite and >= 0")
    for name, is_finite in zip(given, finite, strict=True):
        if not is_finite:
            raise ValueError(f"{name} must be finite with finite squared norms, got NaN, infinity or overflow")


def unit_weights(student: Tensor, row_weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weights that sum to 1 in each group.

    Args:
        student: (G, N, D).
        row_weights: (N,), (G, N) or None.
    Returns:
        (G, N) raw weights; (G, N) weights over their sum, all zero in a group of fewer than two weighted rows;
        (G,) each group's share of the mean over the groups that count.
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
    """Whether the gradient will be asked for; without it half the work may be left out."""
    return student.requires_grad and torch.is_grad_enabled()


def grouped(tensor: Tensor) -> Tensor:
    """(N, D) becomes one group."""
    return tensor[None] if tensor.ndim == 2 else tensor


def fake_outputs(student: Tensor, need_gradient: bool) -> tuple[Tensor, Tensor]:
    """Shapes of (value, gradient) for the compiler; the gradient is empty when nobody asked."""
    dtype = wide_dtype(student)
    gradient = student.new_empty(student.shape if need_gradient else (0,), dtype=dtype)
    return student.new_empty((), dtype=dtype), gradient


def register_first_order(operator: Any, inputs: int) -> None:
    """Let the operator's second output be the gradient of its first with respect to its first input."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[1])

    def backward(ctx: Any, value_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        student, gradient = ctx.saved_tensors
        return (_first_order(student, gradient, value_gradient), *(None,) * (inputs - 1))

    operator.register_autograd(backward, setup_context=setup)


@torch.library.custom_op("mrkd::first_order", mutates_args=())
def _first_order(student: Tensor, gradient: Tensor, value_gradient: Tensor) -> Tensor:
    # Cast last: a float16 gradient is scaled before it is narrowed.
    return (gradient * value_gradient.to(gradient.dtype)).to(student.dtype)


@_first_order.register_fake
def _(student: Tensor, gradient: Tensor, value_gradient: Tensor) -> Tensor:
    return torch.empty_like(gradient, dtype=student.dtype)


def _refuse(ctx: Any, *_: Any) -> None:
    raise RuntimeError("the relational losses are differentiable once: their second derivative is not implemented")


_first_order.register_autograd(_refuse)
