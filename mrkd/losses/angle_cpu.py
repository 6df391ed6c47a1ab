"""The angle kernel for the CPU: every output row belongs to one i, so threads never race and results repeat."""

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor


def angle_kernel(
    student_gram: Tensor, student_inverse: Tensor, teacher_gram: Tensor, teacher_inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Same contract as the torch reference in `mrkd.losses.angle`; all inputs (N, N), contiguous, on the CPU."""
    threads = numba.get_num_threads()
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
    try:
        outputs = _kernel(*(t.numpy() for t in (student_gram, student_inverse, teacher_gram, teacher_inverse)))
    finally:
        numba.set_num_threads(threads)
    loss_rows, *gradients = (torch.from_numpy(array) for array in outputs)
    scale = 1.0 / student_gram.shape[0] ** 3
    loss = (loss_rows.double().sum() * scale).to(student_gram.dtype)
    return loss, gradients[0].mul_(scale), gradients[1].mul_(scale), gradients[2].mul_(scale)


@numba.njit(parallel=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, cache=True)
def _kernel(gram_s, inverse_s, gram_t, inverse_t):  # type: ignore[no-untyped-def]
    rows = gram_s.shape[0]
    loss_rows = np.zeros(rows, gram_s.dtype)
    gram_gradient = np.zeros_like(gram_s)
    edge_sum = np.zeros_like(gram_s)
    radius_sum = np.zeros_like(gram_s)
    one = gram_s.dtype.type(1.0)
    half = gram_s.dtype.type(0.5)
    zero = gram_s.dtype.type(0.0)
    for i in prange(rows):
        row_loss = zero
        for j in range(rows):
            r_s = inverse_s[i, j]
            r_t = inverse_t[i, j]
            if r_s == zero and r_t == zero:
                continue
            offset_s = gram_s[j, j] - gram_s[i, j]
            offset_t = gram_t[j, j] - gram_t[i, j]
            loss = zero
            edge = zero
            radius = zero
            for k in range(rows):
                radii = r_s * inverse_s[j, k]
                cosine = (gram_s[i, k] - gram_s[j, k] + offset_s) * radii
                difference = cosine - (gram_t[i, k] - gram_t[j, k] + offset_t) * (r_t * inverse_t[j, k])
                slope = min(max(difference, -one), one)
                loss += slope * (difference - half * slope)
                radius += slope * cosine
                product = slope * radii
                edge += product
                gram_gradient[i, k] += product
            row_loss += loss
            edge_sum[i, j] = edge
            radius_sum[i, j] = radius
        loss_rows[i] = row_loss
    return loss_rows, gram_gradient, edge_sum, radius_sum
