"""The angle kernel for the CPU: every output row belongs to one i, so threads never race and results repeat."""

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

_MOST_THREADS = numba.get_num_threads()


def angle_kernel(
    student_gram: Tensor, student_inverse: Tensor, teacher_gram: Tensor, teacher_inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Same contract as the torch reference in `mrkd.losses.angle`; all inputs (G, N, N), contiguous, on the CPU."""
    numba.set_num_threads(min(torch.get_num_threads(), _MOST_THREADS))
    outputs = _kernel(*(t.numpy() for t in (student_gram, student_inverse, teacher_gram, teacher_inverse)))
    loss_rows, *gradients = (torch.from_numpy(array) for array in outputs)
    scale = 1.0 / (student_gram.shape[0] * student_gram.shape[1] ** 3)
    loss = (loss_rows.double().sum() * scale).to(student_gram.dtype)
    return loss, gradients[0].mul_(scale), gradients[1].mul_(scale), gradients[2].mul_(scale)


@numba.njit(parallel=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, cache=True)
def _kernel(gram_s, inverse_s, gram_t, inverse_t):  # type: ignore[no-untyped-def]
    groups, rows = gram_s.shape[:2]
    loss_rows = np.zeros(groups * rows, gram_s.dtype)
    gram_gradient = np.zeros_like(gram_s)
    edge_sum = np.zeros_like(gram_s)
    radius_sum = np.zeros_like(gram_s)
    one = gram_s.dtype.type(1.0)
    half = gram_s.dtype.type(0.5)
    zero = gram_s.dtype.type(0.0)
    for task in prange(groups * rows):
        g = task // rows
        i = task % rows
        row_loss = zero
        for j in range(rows):
            r_s = inverse_s[g, i, j]
            r_t = inverse_t[g, i, j]
            offset_s = gram_s[g, j, j] - gram_s[g, i, j]
            offset_t = gram_t[g, j, j] - gram_t[g, i, j]
            loss = zero
            edge = zero
            radius = zero
            for k in range(rows):
                radii = r_s * inverse_s[g, j, k]
                cosine = (gram_s[g, i, k] - gram_s[g, j, k] + offset_s) * radii
                target = (gram_t[g, i, k] - gram_t[g, j, k] + offset_t) * (r_t * inverse_t[g, j, k])
                difference = cosine - target
                slope = min(max(difference, -one), one)
                loss += slope * (difference - half * slope)
                radius += slope * cosine
                product = slope * radii
                edge += product
                gram_gradient[g, i, k] += product
            row_loss += loss
            edge_sum[g, i, j] = edge
            radius_sum[g, i, j] = radius
        loss_rows[task] = row_loss
    return loss_rows, gram_gradient, edge_sum, radius_sum
