"""RKD-A without its N x N x D and N x N x N tensors: exact, O(N^2 D + N^3) work, O(N^2) memory.

The law of cosines gives each angle from three distances, and those come from a Gram matrix. The value and its
derivatives over the distances are computed together in the forward pass; docs/methods.md derives both. Axes: G groups,
N rows, M anchors, D embedding.
"""

import importlib
import importlib.util
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Protocol

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
from mrkd.losses.kernels.distances import Frame, inverse_scale, measure
from mrkd.losses.kernels.sampling import sample_rows

_MODULES = {"torch": "angle_torch", "numba": "angle_cpu", "triton": "angle_triton"}


def rkd_angle(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    standardize: bool = False,
    huber_delta: float = 1.0,
    sampled_rows: int | None = None,
    backend: str | None = None,
) -> Tensor:
    """Match the angles of the student's triplets to the teacher's, exactly and at any batch size.

    With C_ijk the cosine of the angle at row j between rows i and k (zero where an edge has no length), the loss is
    the mean of Huber(C_ijk(student) - C_ijk(teacher)) over all N^3 entries, as the authors take it.

    Args:
        student: (N, D_student) or (G, N, D_student) embeddings, not necessarily normalised.
        teacher: (N, D_teacher) or (G, N, D_teacher) embeddings; no gradient flows into them.
        anchors: (M, D) or (G, M, D), D_student = D_teacher = D: the angles at each row between anchors i and k, mean
            over N M^2 entries, instead of those between rows. No gradient flows into them.
        row_weights: (N,) or (G, N), bool or >= 0. An entry weighs w_i w_j w_k / (sum w)^3, with anchors
            w_j / (M^2 sum w), so a bool mask gives exactly the loss of the subset. Rows of weight zero may hold
            anything. A group of fewer than two weighted rows gives zero and does not count.
        standardize: divide the differences by the standard deviation of the teacher's cosines: the weighted population
            one, in each group, over the entries with i, j, k distinct (with anchors, i != k) whose two edges have
            length. Unrelated features then score about 0.7 in any dimension. A teacher whose cosines are constant to
            rounding (standard deviation below 1e-5, in float64 1e-10) is not standardised.
        huber_delta: where Huber turns from quadratic to linear, on the differences after division; 1 is smooth-L1.
        sampled_rows: m < N gives an estimate from the angles among m rows, drawn anew in each group at every call by
            torch's global generator: O(m^2 D + m^3) work. Value and gradient are unbiased, unless `standardize` is
            given: the standard deviation is then that of the drawn rows. None takes all rows; not with anchors.
        backend: "numba" (CPU), "triton" (CUDA), "torch" (any device), or None for the fastest that is available.
    Returns:
        Scalar >= 0, dimensionless, mean over the groups that count; float64 for float64, else float32.
    Raises:
        ValueError: wrong shapes or options, N < 2, a backend that is not available, or, unless compiling, a value that
            is not finite.
        RuntimeError: differentiated twice.
    Source:
        Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068), eq. 8-9.
    """
    check_arguments(student, teacher, anchors, row_weights, huber_delta)
    check = checks_values()
    need = wants_gradient(student)
    factors = None
    if sampled_rows is not None:
        if anchors is not None:
            raise ValueError("sampled_rows draws triplets of rows: leave it out where anchors are given")
        student, teacher, row_weights, factors = sample_rows(student, teacher, row_weights, sampled_rows)
    value, *_ = _angle(
        student,
        teacher,
        anchors,
        row_weights,
        factors,
        None,
        standardize,
        huber_delta,
        backend,
        student.shape[-2],
        need,
        check,
    )
    return value


def rkd_angle_sampled(
    student: Tensor,
    teacher: Tensor,
    *,
    vertices: int,
    generator: torch.Generator | None = None,
    row_weights: Tensor | None = None,
    standardize: bool = False,
    huber_delta: float = 1.0,
    backend: str | None = None,
) -> Tensor:
    """An unbiased estimate of `rkd_angle` from the angles at a few vertices: O(N^2 D + vertices N^2) work.

    In each group, `vertices` of the n rows of positive weight are drawn uniformly without replacement; all their
    angles are used. With l_j = w_j n / sum(w) times the weighted mean of vertex j's entries, the estimate is the mean
    of the drawn l_j. Value and gradient are unbiased; the value's variance is (1 - v / n) S^2 / v in each group, where
    v = min(vertices, n) and S^2 is the variance of the l_j with divisor n - 1. It vanishes at v = n.

    Args:
        student: as in `rkd_angle`.
        teacher: as in `rkd_angle`.
        vertices: how many rows serve as vertices, 1 to N.
        generator: source of the draw, on the student's device.
        row_weights: as in `rkd_angle`.
        standardize: as in `rkd_angle`; the standard deviation is the exact one over all vertices (a biased estimate
            would bias the loss), which costs O(N^3), about a third of the exact loss.
        huber_delta: as in `rkd_angle`.
        backend: "numba" (CPU), "torch" (any device), or None.
    Returns:
        As `rkd_angle`.
    Raises:
        ValueError: as `rkd_angle`, or `vertices` outside 1 to N.
        RuntimeError: differentiated twice.
    """
    check_arguments(student, teacher, None, row_weights, huber_delta)
    rows = student.shape[-2]
    if not 1 <= vertices <= rows:
        raise ValueError(f"vertices must be between 1 and the number of rows, {rows}, got {vertices}")
    keys = torch.rand(grouped(student).shape[:2], generator=generator, device=student.device)
    if row_weights is not None:
        keys = keys.masked_fill(row_weights.expand_as(keys) <= 0, 2.0)  # rows that do not count come last
    drawn = keys.argsort(dim=1)[:, :vertices]
    check = checks_values()
    need = wants_gradient(student)
    value, *_ = _angle(
        student, teacher, None, row_weights, None, drawn, standardize, huber_delta, backend, rows, need, check
    )
    return value


def available_backends(device: torch.device) -> list[str]:
    """Names of the backends that can run on a device, fastest first."""
    special = {"cpu": "numba", "cuda": "triton"}.get(device.type)
    return [name for name in (special,) if name and importlib.util.find_spec(name)] + ["torch"]


def _module(backend: str | None, device: torch.device) -> ModuleType:
    available = available_backends(device)
    if backend is not None and backend not in available:
        raise ValueError(f"backend must be one of {available} on {device}, got {backend!r}")
    # At the first use: numba and triton take up to a second to import, and neither need be installed.
    return importlib.import_module(f"mrkd.losses.kernels.{_MODULES[backend or available[0]]}")


class _Triplets(Protocol):
    """Which angles are compared."""

    def moments(self) -> Tensor:
        """(3, G) as in `angle_torch.moments`, of the teacher."""
        ...

    def solve(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """(G,) loss and (G, N, M) edge gradient, as `potentials.pull_back` takes it."""
        ...


@dataclass(frozen=True)
class _Rows:
    """All triplets of rows."""

    backend: ModuleType
    student: Tensor
    teacher: Tensor
    weights: Tensor

    def moments(self) -> Tensor:
        return self.backend.exact_moments(self.teacher, self.weights)

    def solve(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        return self.backend.exact(self.student, self.teacher, self.weights, delta)


@dataclass(frozen=True)
class _Sampled(_Rows):
    """Triplets of rows whose vertex was drawn."""

    vertices: Tensor
    """(G, V) row numbers."""

    def solve(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        index = self.vertices[..., None].expand(-1, -1, self.student.shape[2])
        edges = (self.student.gather(1, index), self.teacher.gather(1, index))
        counted = (self.weights > 0).sum(dim=1, keepdim=True)
        scale_up = counted / counted.clamp(min=1, max=self.vertices.shape[1])
        vertex_weights = self.weights.gather(1, self.vertices) * scale_up
        loss, edge_gradient, end_gradient = self.backend.at_vertices(
            *edges, self.student, self.teacher, vertex_weights, self.weights, delta, need_ends=True
        )
        moved = torch.zeros_like(end_gradient).scatter_(1, index, edge_gradient)
        return loss, end_gradient.add_(moved).add_(moved.mT)


@dataclass(frozen=True)
class _Anchored:
    """Vertices at the rows, ends at the anchors."""

    backend: ModuleType
    student: Tensor
    teacher: Tensor
    weights: Tensor
    anchors: Tensor
    scale: Tensor
    teacher_scale: Tensor

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """(G, M) weights of the anchors; (G, M, M) their squared distances in the student's and the teacher's units."""
        weights = self.weights.new_full(self.anchors.shape[:2], 1.0 / self.anchors.shape[1])
        squared, scale = measure(Frame(self.anchors, weights, None, masked=False))
        units = [(scale * inverse_scale(of_rows))[:, None, None] for of_rows in (self.scale, self.teacher_scale)]
        return weights, squared * units[0], squared * units[1]

    def moments(self) -> Tensor:
        end_weights, _, teacher_ends = self._ends()
        return self.backend.moments(self.teacher, teacher_ends, self.weights, end_weights)

    def solve(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        end_weights, *ends = self._ends()
        return self.backend.at_vertices(
            self.student, self.teacher, *ends, self.weights, end_weights, delta, need_ends=False
        )[:2]


def _inverse_deviation(sums: Tensor, dtype: torch.dtype) -> Tensor:
    count, first, second = sums
    mean = first / count.clamp(min=torch.finfo(torch.float32).tiny)
    deviation = (second / count.clamp(min=torch.finfo(torch.float32).tiny) - mean.square()).clamp(min=0.0).sqrt()
    varies = deviation > (1e-5 if dtype == torch.float32 else 1e-10)
    return torch.where(varies, 1.0 / torch.where(varies, deviation, 1.0), 1.0).to(dtype)


@torch.library.custom_op("mrkd::rkd_angle", mutates_args=())
def _angle(
    student: Tensor,
    teacher: Tensor,
    anchors: Tensor | None,
    row_weights: Tensor | None,
    group_factors: Tensor | None,
    vertices: Tensor | None,
    standardize: bool,
    huber_delta: float,
    backend: str | None,
    height: int,
    need_gradient: bool,
    check: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad(), torch.autocast(student.device.type, enabled=False):
        frame = frame_of(student, anchors, row_weights)
        raw, weights, share = unit_weights(frame.embeddings, row_weights)
        target, target_scale = measure(replace(frame, embeddings=grouped(teacher)))
        ours, scale = measure(frame)
        if check:
            check_values(raw, student=scale, teacher=target_scale)
        module = _module(backend, student.device)
        triplets: _Triplets = _Rows(module, ours, target, weights)
        if frame.anchors is not None:
            triplets = _Anchored(module, ours, target, weights, frame.anchors, scale, target_scale)
        elif vertices is not None:
            triplets = _Sampled(module, ours, target, weights, vertices)
        inverse_deviation = torch.ones_like(share)
        if standardize:
            inverse_deviation = _inverse_deviation(triplets.moments(), weights.dtype)
        # h_delta(x / s) = h_(delta s)(x) / s^2: standardising moves Huber's knee, the kernels need not know.
        loss, edge_gradient = triplets.solve(huber_delta / inverse_deviation)
        factor = share * inverse_deviation.square()
        if group_factors is not None:
            factor = factor * group_factors
        value = (loss * factor).sum()
        if not check:
            value = nan_unless_finite(value, scale, target_scale)
        if not need_gradient:
            return value, value.new_empty(0), value.new_empty(0)
        return value, edge_gradient.mul_(factor[:, None, None]).flatten(), scale


@_angle.register_fake
def _(  # type: ignore[no-untyped-def]
    student,
    teacher,
    anchors,
    row_weights,
    group_factors,
    vertices,
    standardize,
    huber_delta,
    backend,
    height,
    need_gradient,
    check,
):
    return fake_outputs(student, anchors, height, need_gradient)


register_first_order(_angle)
