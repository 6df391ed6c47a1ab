"""iBOT's cross-entropies between the teacher's and the student's prototype logits.

Axes: V views, B images, M masked patches, K prototypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(student_logits: Tensor, teacher_probs: Tensor, student_temperature: float) -> Tensor:
    """Cross-entropy of the student against given targets, one value per row.

    Args:
        student_logits: (..., K), before the temperature.
        teacher_probs: (..., K) targets; rows sum to 1 and carry no gradient.
        student_temperature: divides the logits.
    Returns:
        (...) nats.
    Source:
        Zhou et al., iBOT, ICLR 2022 (arXiv:2111.07832), eq. 2-3.
    """
    return -(teacher_probs * F.log_softmax(student_logits / student_temperature, dim=-1)).sum(dim=-1)


def cls_cross_entropy(
    student_logits: Tensor, teacher_probs: Tensor, *, student_temperature: float, skip_same_view: bool = True
) -> Tensor:
    """Mean cross-entropy over pairs of a teacher view and a different student view.

    Args:
        student_logits: (V_student, B, K); the first V_teacher views are the teacher's own.
        teacher_probs: (V_teacher, B, K) targets.
        student_temperature: divides the student's logits.
        skip_same_view: leave out pairs of the same view. Pass False for local crops, which the teacher never sees.
    Returns:
        Scalar, nats.
    Raises:
        ValueError: image or prototype counts differ, or no pair is left.
    Source:
        Zhou et al., iBOT, ICLR 2022, eq. 2 (the term on the class token).
    """
    if student_logits.shape[1:] != teacher_probs.shape[1:]:
        raise ValueError(
            f"student_logits must have shape (V, B, K) with (B, K) = {tuple(teacher_probs.shape[1:])}, "
            f"got {tuple(student_logits.shape)}"
        )
    pairs = [
        cross_entropy(student_logits[v], teacher_probs[q], student_temperature).mean()
        for q in range(teacher_probs.shape[0])
        for v in range(student_logits.shape[0])
        if v != q or not skip_same_view
    ]
    if not pairs:
        raise ValueError("the class-token term needs two different views, got one")
    return torch.stack(pairs).mean()


def patch_cross_entropy(
    student_logits: Tensor, teacher_probs: Tensor, *, view_of_patch: Tensor, views: int, student_temperature: float
) -> Tensor:
    """Cross-entropy of masked patches, averaged within each view and then over all views, masked or not.

    Args:
        student_logits: (M, K) of the student at masked patches.
        teacher_probs: (M, K) targets at the same patches.
        view_of_patch: (M,) int64 in [0, views), the number of the view that each patch belongs to.
        views: number of views of all images, V times B; one without masked patches contributes zero.
        student_temperature: divides the student's logits.
    Returns:
        Scalar, nats.
    Raises:
        ValueError: shapes differ.
    Source:
        Zhou et al., iBOT, ICLR 2022, eq. 3, with the per-image mean of the authors' code.
    """
    if student_logits.shape != teacher_probs.shape:
        raise ValueError(
            f"student_logits must have shape (M, K) = {tuple(teacher_probs.shape)}, got {tuple(student_logits.shape)}"
        )
    loss = cross_entropy(student_logits, teacher_probs, student_temperature)  # (M, K) -> (M,)
    count = torch.zeros(views, device=loss.device, dtype=loss.dtype).index_add(0, view_of_patch, torch.ones_like(loss))
    total = torch.zeros_like(count).index_add(0, view_of_patch, loss)
    return (total / count.clamp(min=1.0)).mean()
