"""RKD-A from the Gram matrix: exact, O(N^2 D + N^3) work, O(N^2) memory. docs/methods.md derives the gradient.

With G = S S^T and r_ij = 1 / |s_i - s_j|, the cosine of the angle at j between i and k is
C_ijk = (G_ik - G_ij - G_jk + G_jj) r_ij r_jk, so the N x N x D tensor of unit differences is never formed. Value and
gradient are computed together in the forward pass. Axes: G groups, N rows, D embedding, J a block of vertices.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mrkd.losses.potentials import centered_gram, check_pair, distance_from_gram

_BLOCK_ELEMENTS = 1 << 21
"""Size of one temporary of the torch form: with about six of them alive, some 50 MB in float32."""


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Match the angles of the student's triplets to the teacher's, exactly and at any batch size.

    Args:
        student: (N, D_student) or (G, N, D_student) embeddings, not necessarily normalised.
        teacher: (N, D_teacher) or (G, N, D_teacher) embeddings; no gradient flows into them.
    Returns:
        Scalar >= 0, dimensionless: smooth-L1 between cosines, averaged over all N^3 entries as the authors do, and
        over the groups.
    Raises:
        ValueError: wrong ranks, the numbers of rows differ, N < 2, or a value is not finite.
        RuntimeError: differentiated twice.
    Source:
        Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068), eq. 8-9.
    """
    check_pair(student, teacher)
    return _AngleLoss.apply(student, teacher)


class _AngleLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            loss, gradient = _value_and_gradient(student, teacher)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * output_gradients[0].to(gradient.dtype), None


def _value_and_gradient(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    grouped_student, grouped_teacher = (t.detach()[None] if t.ndim == 2 else t.detach() for t in (student, teacher))
    centered, student_gram = centered_gram(grouped_student)
    teacher_gram = centered_gram(grouped_teacher)[1].to(student_gram.dtype)
    student_inverse, teacher_inverse = _inverse_distance(student_gram), _inverse_distance(teacher_gram)
    kernel = _torch_kernel
    if student.device.type == "cpu":
        # Numba is imported at the first use: it takes half a second that a GPU user need not wait.
        from mrkd.losses.angle_cpu import angle_kernel

        kernel = angle_kernel
    loss, gram_gradient, edge_sum, radius_sum = kernel(student_gram, student_inverse, teacher_gram, teacher_inverse)
    # Each edge (i, j) at vertex j enters the numerator as -G_ij and -G_jk, and the vertex itself as G_jj.
    gram_gradient = gram_gradient - edge_sum - edge_sum.mT
    gram_gradient.diagonal(dim1=1, dim2=2).add_(edge_sum.sum(dim=1))
    # C is proportional to 1 / d_ij; the chain rule through d_ij^2 = G_ii + G_jj - 2 G_ij.
    squared_gradient = -(radius_sum + radius_sum.mT) * student_inverse.square()
    gram_gradient -= squared_gradient
    gram_gradient.diagonal(dim1=1, dim2=2).add_(squared_gradient.sum(dim=2))
    gradient = (gram_gradient + gram_gradient.mT) @ centered
    return loss, gradient.view_as(student).to(student.dtype)


def _inverse_distance(gram: Tensor) -> Tensor:
    distance = distance_from_gram(gram)
    return torch.where(distance > 0, 1.0 / distance, torch.zeros_like(distance))


def _torch_kernel(
    student_gram: Tensor, student_inverse: Tensor, teacher_gram: Tensor, teacher_inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The reference: blocks of vertices in plain torch, on any device; all inputs (G, N, N).

    Returns:
        The loss, and its derivatives before the chain rule, each (G, N, N): the sums over vertices of
        P = W r_ij r_jk at (i, k), over k of P at (i, j), and over k of W C at (i, j), where W is the derivative with
        respect to C.
    """
    groups, rows = student_gram.shape[:2]
    loss = student_gram.new_zeros(())
    gram_gradient, edge_sum, radius_sum = (torch.zeros_like(student_gram) for _ in range(3))
    block = max(1, _BLOCK_ELEMENTS // (groups * rows**2))
    for start in range(0, rows, block):
        vertices = slice(start, min(start + block, rows))
        cosine, radii = _cosines(student_gram, student_inverse, vertices)
        difference = cosine - _cosines(teacher_gram, teacher_inverse, vertices)[0]  # (G, J, N, N)
        slope = difference.clamp(-1.0, 1.0)  # derivative of smooth-L1 at beta = 1
        loss += (slope * (difference - 0.5 * slope)).sum()
        radius_sum[:, :, vertices] = (slope * cosine).sum(dim=3).mT
        product = slope.mul_(radii)
        edge_sum[:, :, vertices] = product.sum(dim=3).mT
        gram_gradient += product.sum(dim=1)
    scale = 1.0 / (groups * rows**3)
    return loss * scale, gram_gradient * scale, edge_sum * scale, radius_sum * scale


def _cosines(gram: Tensor, inverse: Tensor, vertices: slice) -> tuple[Tensor, Tensor]:
    edges = gram[:, vertices]  # (G, J, N)
    radii = inverse[:, vertices, :, None] * inverse[:, vertices, None, :]  # (G, J, N, N)
    apex = gram.diagonal(dim1=1, dim2=2)[:, vertices, None, None]
    numerator = gram[:, None] - edges[..., :, None] - edges[..., None, :] + apex
    return numerator * radii, radii
