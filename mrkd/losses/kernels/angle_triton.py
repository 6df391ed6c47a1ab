"""The angle kernels for CUDA, in Triton. They use no atomics: sums have a fixed order, so results repeat exactly.

A program keeps a tile of pairs (i, j) in registers and loops over the third rows k. In each step it reads four short
contiguous pieces of row k (the matrices are symmetric) and spends 34 float operations on every element. Only tiles with
I <= J run. The gradient of edge ij needs the cosines of all three angles of a triangle; the loss adds only the angle at
k, so that over all pairs and k every angle counts once. With few rows there are few tiles; several programs then share
a tile, each with a part of the k, and their results are added in a fixed order.

Axes: G groups, N rows, B side of a tile, S parts of the k.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mrkd.losses.kernels.angle_torch import at_vertices, moments

__all__ = ["at_vertices", "exact", "exact_moments", "moments"]

_WANTED_PROGRAMS = 1024
"""Number of programs to start: enough to fill a GPU, and constant, so that results do not depend on the GPU."""


def exact(student: Tensor, teacher: Tensor, weights: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """As `mrkd.losses.kernels.angle_torch.exact`."""
    groups, rows = weights.shape
    grid, tile, warps = _launch(groups, rows)
    losses = student.new_zeros(groups, grid[0], grid[1])
    partial = torch.empty((grid[1], *student.shape), dtype=student.dtype, device=student.device)
    _edges[grid](student, teacher, weights, delta, partial, losses, rows, BLOCK=tile, num_warps=warps)
    gradient = partial[0] if len(partial) == 1 else partial.sum(dim=0)
    return losses.sum(dim=(1, 2), dtype=torch.float64).to(student.dtype), gradient


def exact_moments(squared: Tensor, weights: Tensor) -> Tensor:
    """As `mrkd.losses.kernels.angle_torch.exact_moments`."""
    groups, rows = weights.shape
    grid, tile, warps = _launch(groups, rows)
    sums = squared.new_zeros(3, groups, grid[0], grid[1])
    _moments[grid](squared, weights, sums, rows, BLOCK=tile, num_warps=warps)
    return sums.sum(dim=(2, 3), dtype=torch.float64)


def _launch(groups: int, rows: int) -> tuple[tuple[int, int, int], int, int]:
    """The grid (tiles, parts of the k, groups), the side of a tile, and warps per program, for 16 pairs per thread."""
    tile, warps = (64, 8) if rows > 512 else (32, 2) if rows > 16 else (16, 1)
    blocks = triton.cdiv(rows, tile)
    stretches = _WANTED_PROGRAMS // (groups * blocks * (blocks + 1) // 2)
    return (blocks * blocks, max(1, min(stretches, 16, rows // 16)), groups), tile, warps


@triton.jit
def _inverse_root(squared):  # type: ignore[no-untyped-def]
    # 1e-19 counts as zero (distances are near 1): one selection is cheaper than two.
    return tl.rsqrt(tl.where(squared > 0, squared, 1e38))


@triton.jit  # type: ignore[untyped-decorator]
def _edges(squared_s, squared_t, weights, delta, gradient, losses, rows, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    blocks = tl.cdiv(rows, BLOCK)
    tile, stretch, group = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if tile // blocks > tile % blocks:
        return
    stretches = tl.num_programs(1)
    i = tile // blocks * BLOCK + tl.arange(0, BLOCK)
    j = tile % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = (i < rows)[:, None] & (j < rows)[None, :]
    matrix = group.to(tl.int64) * rows * rows
    here = i.to(tl.int64)[:, None] * rows + j[None, :]
    square_c_s = tl.load(squared_s + matrix + here, mask=inside, other=0.0)
    square_c_t = tl.load(squared_t + matrix + here, mask=inside, other=0.0)
    inverse_c_s, inverse_c_t = _inverse_root(square_c_s), _inverse_root(square_c_t)
    knee = tl.load(delta + group)
    pull = tl.zeros_like(square_c_s)
    loss = tl.zeros_like(square_c_s)
    length = tl.cdiv(rows, stretches)
    first = stretch * length
    row_s = squared_s + matrix + first.to(tl.int64) * rows
    row_t = squared_t + matrix + first.to(tl.int64) * rows
    for k in range(first, tl.minimum(rows, first + length)):
        square_a = tl.load(row_s + j, mask=j < rows, other=0.0)[None, :]
        square_b = tl.load(row_s + i, mask=i < rows, other=0.0)[:, None]
        aim_square_a = tl.load(row_t + j, mask=j < rows, other=0.0)[None, :]
        aim_square_b = tl.load(row_t + i, mask=i < rows, other=0.0)[:, None]
        inverse_a, inverse_b = _inverse_root(square_a), _inverse_root(square_b)
        aim_inverse_a, aim_inverse_b = _inverse_root(aim_square_a), _inverse_root(aim_square_b)
        a, b = square_a * inverse_a, square_b * inverse_b
        aim_a, aim_b = aim_square_a * aim_inverse_a, aim_square_b * aim_inverse_b
        # One angle by the law of cosines, the others by projection: b = a cos C + c cos A.
        inverse_ab = inverse_a * inverse_b
        cos_c = (0.5 * square_a + 0.5 * square_b - 0.5 * square_c_s) * inverse_ab
        cos_a = (b - a * cos_c) * inverse_c_s
        cos_b = (a - b * cos_c) * inverse_c_s
        aim_c = (0.5 * aim_square_a + 0.5 * aim_square_b - 0.5 * square_c_t) * (aim_inverse_a * aim_inverse_b)
        delta_a = cos_a - (aim_b - aim_a * aim_c) * inverse_c_t
        delta_b = cos_b - (aim_a - aim_b * aim_c) * inverse_c_t
        delta_c = cos_c - aim_c
        slope_a = tl.minimum(tl.maximum(delta_a, -knee), knee)
        slope_b = tl.minimum(tl.maximum(delta_b, -knee), knee)
        slope_c = tl.minimum(tl.maximum(delta_c, -knee), knee)
        weight = tl.load(weights + group * rows + k)
        loss += (weight * slope_c) * (delta_c - 0.5 * slope_c)
        # d cos A / dc = a cos B / (bc), d cos B / dc = b cos A / (ac), d cos C / dc = -c / (ab).
        turn = (slope_a * square_a) * cos_b + (slope_b * square_b) * cos_a - slope_c * square_c_s
        pull += (weight * inverse_ab) * turn
        row_s += rows
        row_t += rows
    weight_i = tl.load(weights + group * rows + i, mask=i < rows, other=0.0)[:, None]
    weight_j = tl.load(weights + group * rows + j, mask=j < rows, other=0.0)[None, :]
    pair_weight = 2.0 * weight_i * weight_j
    pull = tl.where(square_c_s > 0, pull * (pair_weight * inverse_c_s * inverse_c_s), 0.0)
    out = gradient + (stretch * tl.num_programs(2) + group).to(tl.int64) * rows * rows
    tl.store(out + here, pull, mask=inside)
    tl.store(out + j.to(tl.int64)[None, :] * rows + i[:, None], pull, mask=inside)
    # The cosine between an edge and itself is 1 for student and teacher, or 0 where the edge has length zero.
    own_knee = tl.minimum(knee, 1.0)
    mismatch = tl.where((square_c_s > 0) != (square_c_t > 0), 0.5 * (weight_i + weight_j), 0.0)
    loss += tl.where(stretch == 0, mismatch * own_knee * (1.0 - 0.5 * own_knee), 0.0)
    total = tl.sum(tl.sum(tl.where(i[:, None] < j[None, :], loss * pair_weight, 0.0), axis=1), axis=0)
    tl.store(losses + (group * blocks * blocks + tile) * stretches + stretch, total)


@triton.jit  # type: ignore[untyped-decorator]
def _moments(squared, weights, sums, rows, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    blocks = tl.cdiv(rows, BLOCK)
    tile, stretch, group = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if tile // blocks > tile % blocks:
        return
    stretches = tl.num_programs(1)
    i = tile // blocks * BLOCK + tl.arange(0, BLOCK)
    j = tile % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = (i < rows)[:, None] & (j < rows)[None, :]
    matrix = squared + group.to(tl.int64) * rows * rows
    square_c = tl.load(matrix + i.to(tl.int64)[:, None] * rows + j[None, :], mask=inside, other=0.0)
    count, mean, square = tl.zeros_like(square_c), tl.zeros_like(square_c), tl.zeros_like(square_c)
    length = tl.cdiv(rows, stretches)
    first = stretch * length
    row = matrix + first.to(tl.int64) * rows
    for k in range(first, tl.minimum(rows, first + length)):
        square_a = tl.load(row + j, mask=j < rows, other=0.0)[None, :]
        square_b = tl.load(row + i, mask=i < rows, other=0.0)[:, None]
        cosine = (0.5 * square_a + 0.5 * square_b - 0.5 * square_c) * (
            _inverse_root(square_a) * _inverse_root(square_b)
        )
        weight = tl.where((square_a > 0) & (square_b > 0), tl.load(weights + group * rows + k), 0.0)
        shifted = cosine - 0.5
        count += weight
        mean += weight * shifted
        square += weight * shifted * shifted
        row += rows
    weight_i = tl.load(weights + group * rows + i, mask=i < rows, other=0.0)[:, None]
    weight_j = tl.load(weights + group * rows + j, mask=j < rows, other=0.0)[None, :]
    pair_weight = tl.where(i[:, None] < j[None, :], 2.0 * weight_i * weight_j, 0.0)
    out = sums + (group * blocks * blocks + tile) * stretches + stretch
    plane = tl.num_programs(2) * blocks * blocks * stretches
    tl.store(out, tl.sum(tl.sum(count * pair_weight, axis=1), axis=0))
    tl.store(out + plane, tl.sum(tl.sum(mean * pair_weight, axis=1), axis=0))
    tl.store(out + 2 * plane, tl.sum(tl.sum(square * pair_weight, axis=1), axis=0))
