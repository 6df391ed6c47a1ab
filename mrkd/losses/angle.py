"""RKD-A: the angle loss, computed exactly. It needs O(N^2) memory; the authors' code needs O(N^2 D + N^3).

The work is O(N^2 D + N^3).

The law of cosines gives each angle from three distances, and the distances come from a Gram matrix. The forward pass
computes the value together with its derivatives with respect to the distances; docs/methods.md derives both.

Axes: G groups, N rows, M anchors, D embedding.
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
    nan_unless_finite,
    normalized_weights,
    register_first_order,
    wants_gradient,
    weighted_embeddings,
    with_group_axis,
)
from mrkd.losses.kernels.distances import WeightedEmbeddings, inverse_scale, squared_distances
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

    C_ijk is the cosine of the angle at row j between rows i and k, or zero where row j equals row i or k. The loss is
    the mean of Huber(C_ijk(student) - C_ijk(teacher)) over all N^3 entries, as in the authors' code.

    Args:
        student: (N, D_student) or (G, N, D_student) embeddings, not necessarily normalised.
        teacher: (N, D_teacher) or (G, N, D_teacher) embeddings; no gradient flows into them.
        anchors: (M, D) or (G, M, D), where D_student = D_teacher = D. Compares the angles at each row between anchors
            i and k (mean over N M^2 entries), instead of those between rows. No gradient flows into them.
        row_weights: (N,) or (G, N), bool or >= 0. The weight of an entry is w_i w_j w_k / (sum w)^3, or
            w_j / (M^2 sum w) with anchors, so a bool mask gives exactly the loss of the subset. Rows of weight zero
            may hold any values. A group of fewer than two weighted rows is left out of the mean over groups.
        standardize: divide the differences by the standard deviation of the teacher's cosines. It is the weighted
            population one, in each group, over the entries with distinct i, j, k (with anchors, i != k) whose two
            edges are longer than zero. The loss of unrelated features is then about 0.7 in any dimension. A teacher
            whose cosines are constant up to rounding (standard deviation below 1e-5, or 1e-10 in float64) is not
            standardised.
        huber_delta: the difference at which Huber turns from quadratic to linear, after any division; 1 is smooth-L1.
        sampled_rows: m < N estimates the loss from the angles among m rows, drawn anew in each group at every call with
            torch's global generator: O(m^2 D + m^3) work. Value and gradient are unbiased, except with `standardize`,
            where the standard deviation is that of the drawn rows. None uses all rows; not possible with anchors.
        backend: "numba" (CPU), "triton" (CUDA), "torch" (any device), or None for the fastest that is available.
    Returns:
        Scalar >= 0, dimensionless, mean over the groups that count; float64 for float64, else float32.
    Raises:
        ValueError: wrong shapes or options, N < 2, a backend that is not available, or (except under torch.compile) a
            value that is not finite.
        RuntimeError: the loss is differentiated twice.
    Source:
        Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068), eq. 8-10.
    """
    check_arguments(student, teacher, anchors, row_weights, huber_delta)
    check = checks_values()
    need_gradient = wants_gradient(student)
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
        need_gradient,
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
    """Estimate `rkd_angle` without bias from the angles at a few random vertices: O(N^2 D + vertices N^2) work.

    Each group draws `vertices` of its n rows of positive weight, uniformly and without replacement, and uses all angles
    at them. Let l_j be w_j n / sum(w) times the weighted mean of vertex j's entries; the estimate is the mean of the
    drawn l_j. Value and gradient are unbiased. The value's variance is (1 - v / n) S^2 / v in each group, where
    v = min(vertices, n) and S^2 is the variance of the l_j with divisor n - 1. It is zero at v = n.

    Args:
        student: as in `rkd_angle`.
        teacher: as in `rkd_angle`.
        vertices: number of rows to draw as vertices, 1 to N.
        generator: random generator for the draw, on the student's device.
        row_weights: as in `rkd_angle`.
        standardize: as in `rkd_angle`. The standard deviation is computed over all vertices, because an estimate of it
            would bias the loss; this costs O(N^3), about a third of the exact loss.
        huber_delta: as in `rkd_angle`.
        backend: "numba" (CPU), "torch" (any device), or None.
    Returns:
        As `rkd_angle`.
    Raises:
        ValueError: as `rkd_angle`, or `vertices` outside 1 to N.
        RuntimeError: the loss is differentiated twice.
    """
    check_arguments(student, teacher, None, row_weights, huber_delta)
    rows = student.shape[-2]
    if not 1 <= vertices <= rows:
        raise ValueError(f"vertices must be between 1 and the number of rows, {rows}, got {vertices}")
    keys = torch.rand(with_group_axis(student).shape[:2], generator=generator, device=student.device)
    if row_weights is not None:
        keys = keys.masked_fill(row_weights.expand_as(keys) <= 0, 2.0)  # rows of weight zero come last
    drawn = keys.argsort(dim=1)[:, :vertices]
    check = checks_values()
    need_gradient = wants_gradient(student)
    value, *_ = _angle(
        student, teacher, None, row_weights, None, drawn, standardize, huber_delta, backend, rows, need_gradient, check
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
    # Imported at the first use: numba and triton take up to a second to import, and neither needs to be installed.
    return importlib.import_module(f"mrkd.losses.kernels.{_MODULES[backend or available[0]]}")


class _Triplets(Protocol):
    """A choice of angles to compare, and how to compute their loss."""

    def moments(self) -> Tensor:
        """(3, G) sums over the teacher's cosines, as in `angle_torch.moments`."""
        ...

    def loss_and_gradient(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """(G,) loss and (G, N, M) edge gradient, for `embedding_gradient`."""
        ...


@dataclass(frozen=True)
class _AllTriplets:
    """All triplets of rows."""

    backend: ModuleType
    student: Tensor
    teacher: Tensor
    weights: Tensor

    def moments(self) -> Tensor:
        return self.backend.exact_moments(self.teacher, self.weights)

    def loss_and_gradient(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        return self.backend.exact(self.student, self.teacher, self.weights, delta)


@dataclass(frozen=True)
class _SampledTriplets(_AllTriplets):
    """The triplets of rows whose vertex was drawn at random."""

    vertices: Tensor
    """(G, V) row numbers."""

    def loss_and_gradient(self, delta: Tensor) -> tuple[Tensor, Tensor]:
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
class _AnchoredTriplets:
    """The triplets of a row as vertex and two anchors as ends."""

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
        squared, scale = squared_distances(WeightedEmbeddings(self.anchors, weights, None, masked=False))
        units = [(scale * inverse_scale(of_rows))[:, None, None] for of_rows in (self.scale, self.teacher_scale)]
        return weights, squared * units[0], squared * units[1]

    def moments(self) -> Tensor:
        end_weights, _, teacher_ends = self._ends()
        return self.backend.moments(self.teacher, teacher_ends, self.weights, end_weights)

    def loss_and_gradient(self, delta: Tensor) -> tuple[Tensor, Tensor]:
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
    stripe_rows: int,
    need_gradient: bool,
    check: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad(), torch.autocast(student.device.type, enabled=False):
        inputs = weighted_embeddings(student, anchors, row_weights)
        raw, weights, group_weight = normalized_weights(inputs.embeddings, row_weights)
        target, target_scale = squared_distances(replace(inputs, embeddings=with_group_axis(teacher)))
        student_squared, scale = squared_distances(inputs)
        if check:
            check_values(raw, student=scale, teacher=target_scale)
        module = _module(backend, student.device)
        triplets: _Triplets = _AllTriplets(module, student_squared, target, weights)
        if inputs.anchors is not None:
            triplets = _AnchoredTriplets(module, student_squared, target, weights, inputs.anchors, scale, target_scale)
        elif vertices is not None:
            triplets = _SampledTriplets(module, student_squared, target, weights, vertices)
        inverse_deviation = torch.ones_like(group_weight)
        if standardize:
            inverse_deviation = _inverse_deviation(triplets.moments(), weights.dtype)
        # h_delta(x / s) = h_(delta s)(x) / s^2: standardising only changes Huber's delta, so the kernels need no such
        # option.
        loss, edge_gradient = triplets.loss_and_gradient(huber_delta / inverse_deviation)
        factor = group_weight * inverse_deviation.square()
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
    stripe_rows,
    need_gradient,
    check,
):
    return fake_outputs(student, anchors, stripe_rows, need_gradient)


register_first_order(_angle)
