"""Diagnostics of one training step, without gradients. Axes: V views, B images, D embedding, K prototypes."""

import torch
import torch.nn.functional as F

from mrkd.config import DistillationConfig
from mrkd.losses.centering import sinkhorn_knopp
from mrkd.losses.kernels.distances import pairwise_distance
from mrkd.objective.tokens import StepOutputs


@torch.no_grad()
def step_health(step: StepOutputs, settings: DistillationConfig, teacher_temperature: float) -> dict[str, float]:
    """Measure relations between class tokens and, with prototypes, agreement and entropy.

    Returns:
        relation_distance: mean raw distance between the teacher's class tokens, in feature units.
        cls_cosine: mean cosine between the student's class tokens of different images; near 1 at initialisation.
        relation_correlation: Pearson correlation of the student's and the teacher's distances, across views where
            relations are.
        agreement: percent of images for which the student's most likely prototype in one view is the teacher's in the
            other. A constant output has 100, so read it together with the entropy.
        teacher_entropy: mean entropy of the teacher's targets, nats.
    """
    teacher, student = step.target.cls_backbone.float(), step.student.cls_backbone.float()
    view = 0 if step.same_view else -1
    teacher_distance, student_distance = pairwise_distance(teacher[0]), pairwise_distance(student[view])
    rows = teacher_distance.shape[0]
    upper = torch.triu_indices(rows, rows, offset=1, device=teacher.device).unbind()
    pair = torch.stack([teacher_distance[upper], student_distance[upper]])
    unit = F.normalize(student[-1], dim=-1)
    result = {
        "cls_cosine": (unit @ unit.mT)[upper].mean(),
        "relation_distance": pair[0].mean(),
        "relation_correlation": torch.corrcoef(pair)[0, 1].nan_to_num(),
    }
    if step.teacher is not None and step.teacher.cls_logits is not None and step.student.cls_logits is not None:
        teacher_logits, student_logits = step.teacher.cls_logits.float(), step.student.cls_logits.float()
        targets = sinkhorn_knopp(
            teacher_logits, temperature=teacher_temperature, iterations=settings.sinkhorn_iterations
        )
        if settings.centering != "sinkhorn":
            targets = F.softmax(teacher_logits / teacher_temperature, dim=-1)
        result["agreement"] = 100.0 * (teacher_logits[0].argmax(-1) == student_logits[-1].argmax(-1)).float().mean()
        result["teacher_entropy"] = -(targets * (targets + 1e-12).log()).sum(dim=-1).mean()
    # One transfer for all values: each transfer waits for the device.
    return dict(zip(result, torch.stack(list(result.values())).tolist(), strict=True))
