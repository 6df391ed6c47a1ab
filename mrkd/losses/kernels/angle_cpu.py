"""The angle kernels for all triplets of rows on the CPU, compiled by numba; `angle_cpu_vertices` has the other cases.

Results do not depend on the number or timing of threads.

The rows are cut into blocks. A task processes an unordered triple of blocks: it visits each triangle of rows once and
uses all three angles, because their gradients with respect to the edges share most of the arithmetic. A task adds to
three tiles of the gradient, so tasks run in phases. Two tasks of a phase never share a tile: their block numbers sum to
the same c modulo the number of blocks, so two blocks and c determine the third. Each tile is therefore summed in the
order of the phases, without locks. The data of a task (about 0.3 MB) fit into a core's L2 cache. Only the upper
triangle of the student's squared distances is read; the gradient is accumulated in the lower one.

Axes: G groups, N rows, B rows of a block. Suffixes: _s student, _t teacher.
"""

from functools import lru_cache

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from mrkd.losses.kernels.angle_cpu_vertices import FAST, at_vertices, moments, set_threads

__all__ = ["at_vertices", "exact", "exact_moments", "moments"]


def exact(student: Tensor, teacher: Tensor, weights: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """As `mrkd.losses.kernels.angle_torch.exact`."""
    set_threads()
    block, triples, phases = _schedule(student.shape[1])
    squared_s, squared_t, of_rows, knee = (t.contiguous().numpy() for t in (student, teacher, weights, delta))
    loss = _triangles(squared_s, squared_t, of_rows, knee, block, triples, phases)
    return torch.from_numpy(loss).to(student.dtype), torch.from_numpy(squared_s)


def exact_moments(squared: Tensor, weights: Tensor) -> Tensor:
    """As `mrkd.losses.kernels.angle_torch.exact_moments`."""
    set_threads()
    block, triples, _ = _schedule(squared.shape[1])
    return torch.from_numpy(
        _triangle_moments(squared.contiguous().numpy(), weights.contiguous().numpy(), block, triples)
    )


@lru_cache(maxsize=16)
def _schedule(rows: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Rows per block; (T, 3) triples of block numbers, sorted by phase; index of the first triple of each phase.

    In each triple the first two blocks are in ascending order. If any two blocks are equal, the first two are.
    """
    # Larger blocks spend less time on loop overhead; smaller ones make more tasks for the threads.
    block = 16 if rows <= 16 else 32 if rows <= 128 else 64
    blocks = -(-rows // block)
    number = np.arange(blocks)
    triples = np.stack(np.meshgrid(number, number, number, indexing="ij"), axis=-1).reshape(-1, 3)
    triples = triples[(triples[:, 0] <= triples[:, 1]) & (triples[:, 1] <= triples[:, 2])]
    # For two equal blocks the loops over i and j visit only half of the pairs, so equal blocks come first.
    last_two = (triples[:, 0] < triples[:, 1]) & (triples[:, 1] == triples[:, 2])
    triples[last_two] = triples[last_two][:, [1, 2, 0]]
    phase = triples.sum(axis=1) % blocks
    starts = np.searchsorted(np.sort(phase), np.arange(blocks + 1))
    # Each thread gets a run of neighbouring tasks: spread those with two equal blocks, half the work, evenly.
    half = triples[:, 0] == triples[:, 1]
    position = np.empty(len(triples))
    for one_phase in range(blocks):
        for kind, lead in ((half, 0.0), (~half, 0.5)):
            tasks = np.flatnonzero(kind & (phase == one_phase))
            position[tasks] = (np.arange(len(tasks)) + lead) / max(1, len(tasks))
    return block, triples[np.lexsort((~half, position, phase))].astype(np.int64), starts


@numba.njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def _triangles(squared_s, squared_t, weights, delta, block, triples, phases):  # type: ignore[no-untyped-def]
    groups, rows = weights.shape
    tasks = triples.shape[0]
    losses = np.zeros((groups, tasks))
    for task in prange(groups * rows):
        for j in range(task % rows):
            squared_s[task // rows, task % rows, j] = 0
    for phase in range(phases.shape[0] - 1):
        first, count = phases[phase], phases[phase + 1] - phases[phase]
        for task in prange(count * groups):
            g, t = task // count, first + task % count
            losses[g, t] = _task(squared_s[g], squared_t[g], weights[g], delta[g], block, triples[t])
    blocks = (rows + block - 1) // block
    own_losses = np.zeros((groups, blocks))
    for task in prange(groups * blocks):
        g, row_block = task // blocks, task % blocks
        for column_block in range(row_block, blocks):
            own_losses[g, row_block] += _finish(
                squared_s[g], squared_t[g], weights[g], delta[g], block, row_block, column_block
            )
    loss = np.zeros(groups)
    for g in range(groups):
        loss[g] = losses[g].sum() + own_losses[g].sum()
    return loss


@numba.njit(error_model="numpy", cache=True)
def _finish(squared_s, squared_t, weights, delta, block, row_block, column_block):  # type: ignore[no-untyped-def]
    """Divide a tile of the gradient by the distance and mirror it; return the loss of the angles with i = k.

    The cosine between an edge and itself is 1 for student and teacher, or 0 where the edge has length zero.
    """
    rows = weights.shape[0]
    mismatch = 0.0
    for i in range(row_block * block, min(rows, (row_block + 1) * block)):
        for j in range(max(i + 1, column_block * block), min(rows, (column_block + 1) * block)):
            square = squared_s[i, j]
            if (square > 0) != (squared_t[i, j] > 0):
                mismatch += weights[i] * weights[j] * (weights[i] + weights[j])
            squared_s[i, j] = squared_s[j, i] * (2 / np.sqrt(square)) if square > 0 else 0
            squared_s[j, i] = squared_s[i, j]
    knee = min(1.0, delta)
    return mismatch * knee * (1.0 - 0.5 * knee)


@numba.njit(error_model="numpy", cache=True)
def _load(squared, block, row_block, column_block, tile):  # type: ignore[no-untyped-def]
    """Load one tile of distances and their inverses; entries beyond the last row, or below the diagonal, are zero.

    The lower triangle holds the gradient, so a tile there is read as the transpose of the tile above.
    """
    if row_block > column_block:
        turned = np.empty_like(tile)
        _load_above(squared, block, column_block, row_block, turned)
        for part in range(2):
            for i in range(block):
                for j in range(block):
                    tile[part, i, j] = turned[part, j, i]
    else:
        _load_above(squared, block, row_block, column_block, tile)


@numba.njit(error_model="numpy", cache=True)
def _load_above(squared, block, row_block, column_block, tile):  # type: ignore[no-untyped-def]
    rows = squared.shape[0]
    zero = squared.dtype.type(0)
    one = squared.dtype.type(1)
    for i in range(block):
        row = row_block * block + i
        column = column_block * block
        start = i + 1 if row_block == column_block else 0
        end = min(block, rows - column) if row < rows else 0
        for j in range(block):
            tile[0, i, j] = zero
            tile[1, i, j] = zero
        for j in range(start, end):
            length = np.sqrt(squared[row, column + j])
            tile[0, i, j] = length
            tile[1, i, j] = one / length if length > zero else zero


@numba.njit(error_model="numpy", cache=True)
def _load_weights(weights, block, triple):  # type: ignore[no-untyped-def]
    """Row weights of the blocks (3, B), zero beyond the last row; those of the third for each row of the second."""
    of_block = np.zeros((3, block), weights.dtype)
    for corner in range(3):
        for i in range(block):
            row = triple[corner] * block + i
            if row < weights.shape[0]:
                of_block[corner, i] = weights[row]
    third = np.zeros((block, block), weights.dtype)
    for j in range(block):
        # Within one block, j < k visits each triangle once.
        for k in range(j + 1 if triple[1] == triple[2] else 0, block):
            third[j, k] = of_block[2, k]
    return of_block, third


@numba.njit(error_model="numpy", cache=True)
def _task(squared_s, squared_t, weights, delta, block, triple):  # type: ignore[no-untyped-def]
    first = triple[0] == triple[1]
    tiles = np.empty((3, 4, block, block), weights.dtype)
    local = np.zeros((3, block, block), weights.dtype)
    for edge in range(2 if first else 3):
        row_block, column_block = triple[edge // 2], triple[(edge + 3) // 2]  # ij, ik, jk
        _load(squared_s, block, row_block, column_block, tiles[edge, :2])
        _load(squared_t, block, row_block, column_block, tiles[edge, 2:])
    ij, ik, jk = tiles[0], tiles[1], tiles[1 if first else 2]
    of_block, third = _load_weights(weights, block, triple)
    loss_lanes = np.zeros(block, weights.dtype)
    _sweep(ij, ik, jk, local[0], local[1], local[2], of_block, third, loss_lanes, first, delta)
    rows = weights.shape[0]
    for edge in range(3):
        row, column = triple[edge // 2] * block, triple[(edge + 3) // 2] * block
        if row > column:
            for i in range(min(block, rows - row)):
                for j in range(block):
                    squared_s[row + i, column + j] += local[edge, i, j]
        else:
            for j in range(min(block, rows - column)):
                for i in range(min(block, rows - row, column + j - row)):
                    squared_s[column + j, row + i] += local[edge, i, j]
    return 2.0 * loss_lanes.sum()


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def _sweep(ij, ik, jk, gradient_ij, gradient_ik, gradient_jk, weights, third, loss_lanes, first, delta):  # type: ignore[no-untyped-def]
    """Visit all triangles of three blocks once; edges a = jk, b = ik, c = ij are opposite to the angles A, B, C.

    The loop handles two i at a time, which share each read of (j, k): those tiles do not fit into the L1 cache.
    """
    zero = ij.dtype.type(0)
    block = ij.shape[1]
    for i in range(0, block, 2):
        n = i + 1
        for j in range(i + 1 if first else 0, block):
            edge_i = (ij[0, i, j], ij[1, i, j], ij[2, i, j], ij[3, i, j])
            edge_n = (ij[0, n, j], ij[1, n, j], ij[2, n, j], ij[3, n, j])
            weight_i = weights[0, i] * weights[1, j]
            weight_n = weights[0, n] * weights[1, j] if not first or j > n else zero
            gradient_i, gradient_n = zero, zero
            for k in range(block):
                a = (jk[0, j, k], jk[1, j, k], jk[2, j, k], jk[3, j, k])
                b = (ik[0, i, k], ik[1, i, k], ik[2, i, k], ik[3, i, k])
                loss_i, a_i, b_i, c_i = _triangle(a, b, edge_i, third[j, k] * weight_i, delta)
                b = (ik[0, n, k], ik[1, n, k], ik[2, n, k], ik[3, n, k])
                loss_n, a_n, b_n, c_n = _triangle(a, b, edge_n, third[j, k] * weight_n, delta)
                loss_lanes[k] += loss_i + loss_n
                gradient_jk[j, k] += a_i + a_n
                gradient_ik[i, k] += b_i
                gradient_ik[n, k] += b_n
                gradient_i += c_i
                gradient_n += c_n
            gradient_ij[i, j] += gradient_i
            gradient_ij[n, j] += gradient_n


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def _triangle(edge_a, edge_b, edge_c, weight, delta):  # type: ignore[no-untyped-def]
    """Loss of the three angles of a triangle, and its derivatives with respect to the edges a, b, c.

    An edge is the student's length and its inverse, then the teacher's length and its inverse.
    """
    a_s, inverse_a_s, a_t, inverse_a_t = edge_a
    b_s, inverse_b_s, b_t, inverse_b_t = edge_b
    c_s, inverse_c_s, c_t, inverse_c_t = edge_c
    half = type(weight)(0.5)
    square_a, square_b, square_c = a_s * a_s, b_s * b_s, c_s * c_s
    inverse_ab = inverse_a_s * inverse_b_s
    # One angle by the law of cosines, the others by projection: b = a cos C + c cos A.
    cos_c = half * (square_a + square_b - square_c) * inverse_ab
    cos_a = (b_s - a_s * cos_c) * inverse_c_s
    cos_b = (a_s - b_s * cos_c) * inverse_c_s
    aim_c = half * (a_t * a_t + b_t * b_t - c_t * c_t) * (inverse_a_t * inverse_b_t)
    delta_c = cos_c - aim_c
    delta_a = cos_a - (b_t - a_t * aim_c) * inverse_c_t
    delta_b = cos_b - (a_t - b_t * aim_c) * inverse_c_t
    slope_a = min(max(delta_a, -delta), delta)
    slope_b = min(max(delta_b, -delta), delta)
    slope_c = min(max(delta_c, -delta), delta)
    loss = weight * (
        slope_a * (delta_a - half * slope_a)
        + slope_b * (delta_b - half * slope_b)
        + slope_c * (delta_c - half * slope_c)
    )
    # d cos A / da = -a / (bc), d cos A / db = a cos C / (bc), d cos A / dc = a cos B / (bc).
    common = inverse_ab * (weight * inverse_c_s)
    turn_a, turn_b, turn_c = slope_a * square_a, slope_b * square_b, slope_c * square_c
    return (
        loss,
        common * (turn_b * cos_c + turn_c * cos_b - turn_a),
        common * (turn_a * cos_c + turn_c * cos_a - turn_b),
        common * (turn_a * cos_b + turn_b * cos_a - turn_c),
    )


@numba.njit(parallel=True, error_model="numpy", cache=True)
def _triangle_moments(squared, weights, block, triples):  # type: ignore[no-untyped-def]
    groups, tasks = weights.shape[0], triples.shape[0]
    partial = np.zeros((groups, tasks, 3))
    for task in prange(groups * tasks):
        g, t = task // tasks, task % tasks
        _moment_task(squared[g], weights[g], block, triples[t], partial[g, t])
    sums = np.zeros((3, groups))
    for g in range(groups):
        for t in range(tasks):
            for power in range(3):
                sums[power, g] += 2.0 * partial[g, t, power]
    return sums


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def _moment_task(squared, weights, block, triple, sums):  # type: ignore[no-untyped-def]
    """Sums of 1, C - 1/2 and (C - 1/2)^2 over the teacher's angles of a block triple, where both edges are > 0."""
    tiles = np.empty((3, 2, block, block), weights.dtype)
    first = triple[0] == triple[1]
    for edge in range(2 if first else 3):
        _load(squared, block, triple[edge // 2], triple[(edge + 3) // 2], tiles[edge])
    of_block, third = _load_weights(weights, block, triple)
    half, zero, one = weights.dtype.type(0.5), weights.dtype.type(0), weights.dtype.type(1)
    ij, ik, jk = tiles[0], tiles[1], tiles[1 if first else 2]
    for i in range(block):
        for j in range(i + 1 if first else 0, block):
            c, inverse_c, has_c = ij[0, i, j], ij[1, i, j], one if ij[0, i, j] > zero else zero
            pair_weight = of_block[0, i] * of_block[1, j]
            count, mean, square = zero, zero, zero
            for k in range(block):
                a, b = jk[0, j, k], ik[0, i, k]
                has_a, has_b = one if a > zero else zero, one if b > zero else zero
                cos_c = half * (a * a + b * b - c * c) * (jk[1, j, k] * ik[1, i, k])
                shift_a = (b - a * cos_c) * inverse_c - half
                shift_b = (a - b * cos_c) * inverse_c - half
                shift_c = cos_c - half
                weight_a, weight_b, weight_c = has_b * has_c, has_a * has_c, has_a * has_b
                count += third[j, k] * (weight_a + weight_b + weight_c)
                mean += third[j, k] * (weight_a * shift_a + weight_b * shift_b + weight_c * shift_c)
                square += third[j, k] * (
                    weight_a * shift_a * shift_a + weight_b * shift_b * shift_b + weight_c * shift_c * shift_c
                )
            sums[0] += pair_weight * count
            sums[1] += pair_weight * mean
            sums[2] += pair_weight * square
