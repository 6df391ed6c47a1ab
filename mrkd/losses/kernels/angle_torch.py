"""The angle kernels in plain torch, block by block, on any device. The compiled kernels are tested against them.

Every backend has `exact` for all triplets of rows; this module and `angle_cpu_vertices` also have `at_vertices`.
Axes: G groups, V vertices, M ends, J a block of vertices.
"""

import torch
from torch import Tensor

from mrkd.losses.kernels.precision import sum_dtype

BLOCK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Number of entries of one temporary tensor. About eight exist at once: 8 MB in float32 on the CPU, 0.5 GB on a GPU."""


def exact(student: Tensor, teacher: Tensor, weights: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Huber loss between the cosines of all triplets of rows, and its gradient.

    Args:
        student: (G, N, N) squared distances, exactly zero at coincident rows; may be overwritten.
        teacher: the same.
        weights: (G, N) >= 0.
        delta: (G,) the difference at which Huber turns from quadratic to linear.
    Returns:
        (G,) sum of w_i w_j w_k h(C_ijk(student) - C_ijk(teacher)) with the vertex at j, and (G, N, N) (dL / dd) / d for
        the distance d of each unordered pair; zero at coincident rows.
    """
    loss, edge_gradient, end_gradient = at_vertices(
        student, teacher, student, teacher, weights, weights, delta, need_ends=True
    )
    assert end_gradient is not None
    return loss, end_gradient.add_(edge_gradient).add_(edge_gradient.mT)


def at_vertices(
    student_edges: Tensor,
    teacher_edges: Tensor,
    student_ends: Tensor,
    teacher_ends: Tensor,
    vertex_weights: Tensor,
    end_weights: Tensor,
    delta: Tensor,
    *,
    need_ends: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The same loss for vertices and ends that may be different points.

    Args:
        student_edges: (G, V, M) squared distances from vertices to ends.
        teacher_edges: the same.
        student_ends: (G, M, M) squared distances between ends.
        teacher_ends: the same.
        vertex_weights: (G, V).
        end_weights: (G, M).
        delta: (G,).
        need_ends: whether the student's ends get a gradient; the third output is None otherwise.
    Returns:
        (G,) loss; (dL / dd) / d for the edges (G, V, M) and for the pairs of ends (G, M, M).
    """
    groups, vertices, ends = student_edges.shape
    loss = student_edges.new_zeros(groups, dtype=sum_dtype(student_edges.device))
    edge_gradient = torch.empty_like(student_edges)
    end_gradient = torch.zeros_like(student_ends) if need_ends else None
    limit = delta[:, None, None, None]
    block = max(1, BLOCK_ELEMENTS.get(student_edges.device.type, 1 << 22) // (groups * ends**2))
    for start in range(0, vertices, block):
        here = slice(start, start + block)
        inverse = inverse_root(student_edges[:, here])
        cosine = cosines(student_edges[:, here], student_ends)
        difference = cosine - cosines(teacher_edges[:, here], teacher_ends)  # (G, J, M, M)
        slope = torch.minimum(torch.maximum(difference, -limit), limit)
        weight = vertex_weights[:, here, None, None] * end_weights[:, None, :, None] * end_weights[:, None, None, :]
        loss += (weight * slope * difference.sub_(slope, alpha=0.5)).sum(dim=(1, 2, 3))
        slope *= weight
        radial = (slope * cosine).sum(dim=3) * inverse
        slope *= inverse[..., None, :]
        edge_gradient[:, here] = 2.0 * inverse * (slope.sum(dim=3) - radial)
        if end_gradient is not None:
            end_gradient -= 2.0 * (slope * inverse[..., :, None]).sum(dim=1)
    if end_gradient is not None:
        end_gradient *= student_ends > 0
    return loss.to(student_edges.dtype), edge_gradient, end_gradient


def exact_moments(squared: Tensor, weights: Tensor) -> Tensor:
    """As `moments`, for all triplets of rows."""
    return moments(squared, squared, weights, weights)


def moments(edges: Tensor, ends: Tensor, vertex_weights: Tensor, end_weights: Tensor) -> Tensor:
    """(3, G) weighted sums of 1, C - 1/2 and (C - 1/2)^2 over i != k where both edges are longer than zero.

    For random points in many dimensions C is near 1/2; subtracting 1/2 keeps a small variance accurate.
    """
    groups, vertices, count = edges.shape
    sums = torch.zeros(3, groups, dtype=sum_dtype(edges.device), device=edges.device)
    block = max(1, BLOCK_ELEMENTS.get(edges.device.type, 1 << 22) // (groups * count**2))
    for start in range(0, vertices, block):
        here = slice(start, start + block)
        present = end_weights[:, None] * (edges[:, here] > 0)  # (G, J, M)
        weight = vertex_weights[:, here, None, None] * present[..., :, None] * present[..., None, :]  # (G, J, M, M)
        weight.diagonal(dim1=2, dim2=3).zero_()
        cosine = cosines(edges[:, here], ends).sub_(0.5)
        for power in range(3):
            sums[power] += weight.sum(dim=(1, 2, 3))
            weight *= cosine
    return sums


def cosines(edges: Tensor, ends: Tensor) -> Tensor:
    """(G, J, M, M) cosines at the vertices, by the law of cosines."""
    inverse = inverse_root(edges)
    numerator = edges[..., :, None] + edges[..., None, :] - ends[:, None]
    return numerator.mul_(0.5).mul_(inverse[..., :, None]).mul_(inverse[..., None, :])


def inverse_root(squared: Tensor) -> Tensor:
    """1 / distance, or zero where the distance is zero."""
    return torch.where(squared > 0, squared, torch.inf).rsqrt()
