"""The angle kernels on the CPU for given vertices and ends: angles at some of the rows, or between anchors.

Compiled by numba. Results do not depend on the number or timing of threads.
Axes: G groups, V vertices, M ends. Suffixes: _s student, _t teacher.
"""

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from mrkd.losses.kernels.angle_torch import inverse_root

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""The fast-math flags in use: all that leave NaN and infinity intact."""
_MOST_THREADS = numba.get_num_threads()
_ENDS_AT_ONCE = 8


def set_threads() -> None:
    """Let the calling thread's next kernels use as many threads as torch does."""
    numba.set_num_threads(min(torch.get_num_threads(), _MOST_THREADS))


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
    """As `mrkd.losses.kernels.angle_torch.at_vertices`."""
    set_threads()
    inverses = (inverse_root(student_edges), inverse_root(teacher_edges))
    tensors = (student_edges, teacher_edges, *inverses, student_ends, teacher_ends, vertex_weights, end_weights, delta)
    arrays = [tensor.contiguous().numpy() for tensor in tensors]
    loss, edge_gradient, end_gradient = _angles_at_vertices(need_ends, *arrays)
    ends = torch.from_numpy(end_gradient).mul_(student_ends > 0) if need_ends else None
    return torch.from_numpy(loss).to(delta.dtype), torch.from_numpy(edge_gradient), ends


def moments(edges: Tensor, ends: Tensor, vertex_weights: Tensor, end_weights: Tensor) -> Tensor:
    """As `mrkd.losses.kernels.angle_torch.moments`."""
    set_threads()
    tensors = (edges, inverse_root(edges), ends, vertex_weights, end_weights)
    return torch.from_numpy(_angle_moments(*(tensor.contiguous().numpy() for tensor in tensors)))


@numba.njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def _angles_at_vertices(  # type: ignore[no-untyped-def]
    need_ends, edges_s, edges_t, inverse_s, inverse_t, ends_s, ends_t, vertex_weights, end_weights, delta
):
    """The angles at all vertices. Each task owns some ends i, so no two tasks write to the same gradient entry."""
    groups, vertices, ends = edges_s.shape
    stripes = (ends + _ENDS_AT_ONCE - 1) // _ENDS_AT_ONCE
    losses = np.zeros((groups, ends))
    edge_gradient = np.zeros_like(edges_s)
    end_gradient = np.zeros_like(ends_s) if need_ends else np.zeros((groups, 1, ends), ends_s.dtype)
    for task in prange(groups * stripes):
        g, start = task // stripes, task % stripes * _ENDS_AT_ONCE
        unwanted = np.zeros(ends, ends_s.dtype)
        for j in range(vertices):
            for i in range(start, min(start + _ENDS_AT_ONCE, ends)):
                row = end_gradient[g, i] if need_ends else unwanted
                loss, edge = _angles_at_vertex(
                    edges_s[g, j], edges_t[g, j], inverse_s[g, j], inverse_t[g, j], ends_s[g, i], ends_t[g, i],
                    end_weights[g], vertex_weights[g, j] * end_weights[g, i], delta[g], i, row,
                )  # fmt: skip
                losses[g, i] += loss
                edge_gradient[g, j, i] = edge
    loss = np.zeros(groups)
    for g in range(groups):
        loss[g] = losses[g].sum()
    return loss, edge_gradient, end_gradient


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def _angles_at_vertex(  # type: ignore[no-untyped-def]
    edges_s, edges_t, inverse_s, inverse_t, ends_s, ends_t, end_weights, weight, delta, i, end_gradient
):
    """The angles at one vertex between end i and every end k."""
    half, two, zero = edges_s.dtype.type(0.5), edges_s.dtype.type(2), edges_s.dtype.type(0)
    edge_s, edge_t, inverse_i = edges_s[i], edges_t[i], inverse_s[i]
    half_inverse_s, half_inverse_t = half * inverse_i, half * inverse_t[i]
    loss, plain, radial = zero, zero, zero
    for k in range(edges_s.shape[0]):
        cosine = (edge_s + edges_s[k] - ends_s[k]) * inverse_s[k] * half_inverse_s
        difference = cosine - (edge_t + edges_t[k] - ends_t[k]) * inverse_t[k] * half_inverse_t
        slope = min(max(difference, -delta), delta)
        weighted = slope * (end_weights[k] * weight)
        loss += weighted * (difference - half * slope)
        radial += weighted * cosine
        pull = weighted * inverse_s[k]
        plain += pull
        end_gradient[k] -= pull * (two * inverse_i)
    return loss, two * inverse_i * (plain - inverse_i * radial)


@numba.njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def _angle_moments(edges, inverse, ends, vertex_weights, end_weights):  # type: ignore[no-untyped-def]
    groups, vertices, count = edges.shape
    partial = np.zeros((groups, vertices, 3))
    half, zero = edges.dtype.type(0.5), edges.dtype.type(0)
    for task in prange(groups * vertices):
        g, j = task // vertices, task % vertices
        for i in range(count):
            if inverse[g, j, i] == zero:
                continue
            total, mean, square = zero, zero, zero
            for k in range(i):
                weight = end_weights[g, k] if inverse[g, j, k] > zero else zero
                half_inverse = half * inverse[g, j, i] * inverse[g, j, k]
                shift = (edges[g, j, i] + edges[g, j, k] - ends[g, i, k]) * half_inverse - half
                total += weight
                mean += weight * shift
                square += weight * shift * shift
            weight_i = 2.0 * vertex_weights[g, j] * end_weights[g, i]
            partial[g, j, 0] += weight_i * total
            partial[g, j, 1] += weight_i * mean
            partial[g, j, 2] += weight_i * square
    sums = np.zeros((3, groups))
    for g in range(groups):
        for j in range(vertices):
            for power in range(3):
                sums[power, g] += partial[g, j, power]
    return sums
