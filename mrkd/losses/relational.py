"""Losses between the relations of two sets of embeddings, rather than between the embeddings.

Axes: G groups, N relation size, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.angle import rkd_angle, rkd_angle_sampled
from mrkd.losses.centering import sinkhorn_knopp
from mrkd.losses.distance import rkd_distance
from mrkd.losses.potentials import check_pair, widened

__all__ = ["rkd_angle", "rkd_angle_sampled", "rkd_distance", "structural"]


def structural(
    student: Tensor,
    teacher: Tensor,
    anchors: Tensor | None,
    *,
    student_temperature: float,
    teacher_temperature: float,
    keep_self: bool,
    sinkhorn_iterations: int,
) -> Tensor:
    """iBOT's cross-entropy between rows of softmax similarities: structural iBOT.

    Row i says how image i relates to each image of the batch. Embeddings are centred and normalised, so that the
    common vector of a fresh network does not hide the differences.

    Args:
        student: (N, D) or (G, N, D) embeddings of one view.
        teacher: same shape, another view of the same images; no gradient flows into them.
        anchors: same shape, what rows compare with; None lets each network compare with its own embeddings.
        student_temperature: divides the student's cosines.
        teacher_temperature: divides the teacher's cosines.
        keep_self: whether column i takes part in row i.
        sinkhorn_iterations: balances the teacher's rows, as Sinkhorn-Knopp does for prototypes; 0 for a softmax.
    Returns:
        Scalar, nats.
    Raises:
        ValueError: as `rkd_distance`.
    Source:
        Zhou et al., iBOT, ICLR 2022 (the cross-entropy); Zheng et al., ReSSL, NeurIPS 2021 (arXiv:2107.09282), eq. 1-3
        (similarity rows against teacher embeddings).
    """
    check_pair(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        student_unit = _centered_unit(student)
        with torch.no_grad():
            teacher_unit = _centered_unit(teacher)
            anchor_unit = None if anchors is None else _centered_unit(anchors)
            teacher_cosines = teacher_unit @ (teacher_unit if anchor_unit is None else anchor_unit).mT
        student_cosines = student_unit @ (student_unit if anchor_unit is None else anchor_unit).mT
        if not keep_self:
            diagonal = torch.eye(student.shape[-2], dtype=torch.bool, device=student.device)
            student_cosines = student_cosines.masked_fill(diagonal, -1e4)
            teacher_cosines = teacher_cosines.masked_fill(diagonal, -1e4)
        if sinkhorn_iterations:
            targets = sinkhorn_knopp(teacher_cosines, temperature=teacher_temperature, iterations=sinkhorn_iterations)
        else:
            targets = (teacher_cosines / teacher_temperature).softmax(dim=-1)
        log_rows = (student_cosines / student_temperature).log_softmax(dim=-1)
        return -(targets.to(log_rows.dtype) * log_rows).sum(dim=-1).mean()


def _centered_unit(embeddings: Tensor) -> Tensor:
    embeddings = widened(embeddings)
    return F.normalize(embeddings - embeddings.mean(dim=-2, keepdim=True), dim=-1)
