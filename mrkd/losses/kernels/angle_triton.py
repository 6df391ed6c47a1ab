"""The angle kernels for CUDA, in Triton. They use no atomics: sums have a fixed order, so results repeat exactly.

A program keeps a tile of pairs (i, j) in registers and loops over the third rows k. In each step it reads four short
contiguous pieces of row k (the matrices are symmetric) and spends 34 float operations on every element. Only tiles with
I <= J run. The gradient of edge ij needs the cosines of all three angles of a triangle; the loss adds only the angle at
k, so that over all pairs and k every angle counts once. With few rows there are few tiles; several programs then share
a tile, each with a part of the k, and their results are added in a fixed order.

Axes: G groups, N rows, B side of a tile, S parts of the k.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from mrkd.losses.kernels.angle_torch import at_vertices, moments

__all__ = ["at_vertices", "exact", "exact_moments", "moments"]

_WANTED_PROGRAMS = 1024
"""Number of programs to start: enough to fill a GPU, and constant, so that results do not depend on the GPU."""
TILES = {
    torch.float32: ((512, 64, 8), (16, 32, 2), (0, 16, 1)),
    torch.float64: ((16, 32, 8), (0, 16, 2)),
}
"""More rows than the first number get tiles of this side and this many warps."""


def exact(student: Tensor, teacher: Tensor, weights: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """As `mrkd.losses.kernels.angle_torch.exact`."""
    groups, rows = weights.shape
    plan = launch_plan(groups, rows, student.dtype)
    losses = student.new_zeros(groups, plan.programs // groups)
    partial = student.new_empty(groups, plan.stretches, plan.side, plan.side)
    _edges[plan.programs,](
        *plan.padded(student, teacher, weights),
        delta,
        partial,
        losses,
        plan.side,
        rows,
        plan.stretches,
        BLOCK=plan.tile,
        num_warps=plan.warps,
    )
    gradient = partial[:, 0] if plan.stretches == 1 else partial.sum(dim=1)
    return losses.sum(dim=1, dtype=torch.float64).to(student.dtype), gradient[:, :rows, :rows]


def exact_moments(squared: Tensor, weights: Tensor) -> Tensor:
    """As `mrkd.losses.kernels.angle_torch.exact_moments`."""
    groups, rows = weights.shape
    plan = launch_plan(groups, rows, squared.dtype)
    sums = squared.new_zeros(3, groups, plan.programs // groups)
    _moments[plan.programs,](
        *plan.padded(squared, weights), sums, plan.side, rows, plan.stretches, BLOCK=plan.tile, num_warps=plan.warps
    )
    return sums.sum(dim=2, dtype=torch.float64)


@dataclass(frozen=True)
class LaunchPlan:
    """How the work is cut into programs, which are numbered along one axis: group by group, tile by tile."""

    tile: int
    """Side B of a tile."""
    warps: int
    """Of a program."""
    stretches: int
    """S."""
    programs: int
    """G * tiles * S; CUDA takes 2^31 - 1 of them along its first axis, but 65,535 along the others."""
    side: int
    """Rows rounded up to whole tiles, so that no access needs a mask and every row begins at an aligned address."""

    def padded(self, *tensors: Tensor) -> list[Tensor]:
        """(G, N, N) and (G, N) with rows added that have no distance and no weight, which changes nothing."""
        missing = self.side - tensors[0].shape[-1]
        if missing == 0:
            return list(tensors)
        return [F.pad(tensor, (0, missing) * (tensor.ndim - 1)) for tensor in tensors]


def launch_plan(groups: int, rows: int, dtype: torch.dtype) -> LaunchPlan:
    """Tiles of the side that suits the number of rows, with as many pairs to a thread as registers hold."""
    tile, warps = next((tile, warps) for above, tile, warps in TILES[dtype] if rows > above)
    blocks = triton.cdiv(rows, tile)
    stretches = _WANTED_PROGRAMS // (groups * blocks * (blocks + 1) // 2)
    stretches = max(1, min(stretches, 16, rows // 16))
    return LaunchPlan(tile, warps, stretches, groups * blocks * blocks * stretches, blocks * tile)


@triton.jit
def _inverse_root(squared):  # type: ignore[no-untyped-def]
    # 1e-19 counts as zero (distances are near 1): one selection is cheaper than two.
    return tl.rsqrt(tl.where(squared > 0, squared, 1e38))


@triton.jit(do_not_specialize=["rows", "stretches"])  # type: ignore[untyped-decorator]
def _edges(squared_s, squared_t, weights, delta, gradient, losses, side, rows, stretches, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    blocks = side // BLOCK
    program = tl.program_id(0)
    stretch, tile = program % stretches, program // stretches % (blocks * blocks)
    if tile // blocks > tile % blocks:
        return
    group = (program // stretches // (blocks * blocks)).to(tl.int64)
    i = tile // blocks * BLOCK + tl.arange(0, BLOCK)
    j = tile % blocks * BLOCK + tl.arange(0, BLOCK)
    matrix = group * side * side
    here = i.to(tl.int64)[:, None] * side + j[None, :]
    square_c_s = tl.load(squared_s + matrix + here)
    square_c_t = tl.load(squared_t + matrix + here)
    inverse_c_s, inverse_c_t = _inverse_root(square_c_s), _inverse_root(square_c_t)
    knee = tl.load(delta + group)
    pull = tl.zeros_like(square_c_s)
    loss = tl.zeros_like(square_c_s)
    length = tl.cdiv(rows, stretches)
    first = stretch * length
    row_s = squared_s + matrix + first.to(tl.int64) * side
    row_t = squared_t + matrix + first.to(tl.int64) * side
    for k in range(first, tl.minimum(rows, first + length)):
        square_a = tl.load(row_s + j)[None, :]
        square_b = tl.load(row_s + i)[:, None]
        aim_square_a = tl.load(row_t + j)[None, :]
        aim_square_b = tl.load(row_t + i)[:, None]
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
        weight = tl.load(weights + group * side + k)
        weighted_c = weight * slope_c
        loss += weighted_c * (delta_c - 0.5 * slope_c)
        # d cos A / dc = a cos B / (bc), d cos B / dc = b cos A / (ac), d cos C / dc = -c / (ab).
        turn = (slope_a * (weight * square_a)) * cos_b + (slope_b * (weight * square_b)) * cos_a
        pull += inverse_ab * (turn - weighted_c * square_c_s)
        row_s += side
        row_t += side
    weight_i = tl.load(weights + group * side + i)[:, None]
    weight_j = tl.load(weights + group * side + j)[None, :]
    pair_weight = 2.0 * weight_i * weight_j
    pull = tl.where(square_c_s > 0, pull * (pair_weight * inverse_c_s * inverse_c_s), 0.0)
    # Each pair is stored once in either order; a tile on the diagonal holds both orders, so half of it is left out.
    out = gradient + (group * stretches + stretch) * side * side
    tl.store(out + here, pull, mask=i[:, None] <= j[None, :])
    tl.store(out + j.to(tl.int64)[None, :] * side + i[:, None], pull, mask=i[:, None] < j[None, :])
    # The cosine between an edge and itself is 1 for student and teacher, or 0 where the edge has length zero.
    own_knee = tl.minimum(knee, 1.0)
    mismatch = tl.where((square_c_s > 0) != (square_c_t > 0), 0.5 * (weight_i + weight_j), 0.0)
    loss += tl.where(stretch == 0, mismatch * own_knee * (1.0 - 0.5 * own_knee), 0.0)
    total = tl.sum(tl.sum(tl.where(i[:, None] < j[None, :], loss * pair_weight, 0.0), axis=1), axis=0)
    tl.store(losses + program, total)


@triton.jit(do_not_specialize=["rows", "stretches"])  # type: ignore[untyped-decorator]
def _moments(squared, weights, sums, side, rows, stretches, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    blocks = side // BLOCK
    program = tl.program_id(0)
    stretch, tile = program % stretches, program // stretches % (blocks * blocks)
    if tile // blocks > tile % blocks:
        return
    group = (program // stretches // (blocks * blocks)).to(tl.int64)
    i = tile // blocks * BLOCK + tl.arange(0, BLOCK)
    j = tile % blocks * BLOCK + tl.arange(0, BLOCK)
    matrix = squared + group * side * side
    square_c = tl.load(matrix + i.to(tl.int64)[:, None] * side + j[None, :])
    count, mean, square = tl.zeros_like(square_c), tl.zeros_like(square_c), tl.zeros_like(square_c)
    length = tl.cdiv(rows, stretches)
    first = stretch * length
    row = matrix + first.to(tl.int64) * side
    for k in range(first, tl.minimum(rows, first + length)):
        square_a = tl.load(row + j)[None, :]
        square_b = tl.load(row + i)[:, None]
        cosine = (0.5 * square_a + 0.5 * square_b - 0.5 * square_c) * (
            _inverse_root(square_a) * _inverse_root(square_b)
        )
        weight = tl.where((square_a > 0) & (square_b > 0), tl.load(weights + group * side + k), 0.0)
        shifted = cosine - 0.5
        count += weight
        mean += weight * shifted
        square += weight * shifted * shifted
        row += side
    weight_i = tl.load(weights + group * side + i)[:, None]
    weight_j = tl.load(weights + group * side + j)[None, :]
    pair_weight = tl.where(i[:, None] < j[None, :], 2.0 * weight_i * weight_j, 0.0)
    out = sums + program
    plane = tl.num_programs(0).to(tl.int64)
    tl.store(out, tl.sum(tl.sum(count * pair_weight, axis=1), axis=0))
    tl.store(out + plane, tl.sum(tl.sum(mean * pair_weight, axis=1), axis=0))
    tl.store(out + 2 * plane, tl.sum(tl.sum(square * pair_weight, axis=1), axis=0))
