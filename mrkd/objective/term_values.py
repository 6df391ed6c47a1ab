"""The value of each kind of term: select a loss function's arguments from the outputs of one step, and call it.

A term itself (loss, tokens, weight, options) is `mrkd.config.Term`.

Axes: V views, B images, N patches, M patch tokens through the head, D embedding, K prototypes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mrkd.config import DistillationConfig, Term
from mrkd.losses.centering import MovingCenter, sinkhorn_knopp
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.features import attention_transfer, byol
from mrkd.losses.lejepa import lejepa
from mrkd.losses.queue import EmbeddingQueue
from mrkd.losses.regularizers import koleo, variance_hinge
from mrkd.losses.simdino import simdino
from mrkd.objective.selection import (
    cls_tokens,
    relation_batch,
    student_cls_tokens,
    target_cls_tokens,
    target_patch_tokens,
    view_pairs,
)
from mrkd.objective.tokens import StepOutputs


@dataclass(frozen=True, kw_only=True)
class Context:
    """What terms use besides the outputs of the step."""

    distillation: DistillationConfig
    """Temperatures and the kind of centring."""
    teacher_temperature: float
    """The teacher's temperature in this step."""
    cls_center: MovingCenter
    """Moving centre of the class tokens' logits."""
    patch_center: MovingCenter
    """Moving centre of the patches' logits."""
    seed: int
    """Seed of this step's random directions: the same on all devices, and again after a resume."""
    queue: EmbeddingQueue | None = None
    """The term's queue; None unless its anchors are `queue`."""


TermFunction = Callable[[Context, StepOutputs, Term], Tensor]


def ibot_cls_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """iBOT's cross-entropy of class tokens across views."""
    settings = context.distillation
    assert step.teacher is not None, "the EMA teacher did not run"
    logits = cls_tokens(step.teacher, term)
    if settings.centering == "sinkhorn":
        probs = sinkhorn_knopp(logits, temperature=context.teacher_temperature, iterations=settings.sinkhorn_iterations)
    else:
        probs = context.cls_center(logits.flatten(0, 1), context.teacher_temperature).view_as(logits)
    return cls_cross_entropy(student_cls_tokens(step, term), probs, student_temperature=settings.student_temperature)


def ibot_patch_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """iBOT's cross-entropy of masked patches."""
    assert step.teacher is not None, "the EMA teacher did not run"
    if step.student.patch_logits is None or step.teacher.patch_logits is None:  # no patch was masked in this step
        return step.student.features.float().sum() * 0.0
    settings = context.distillation
    student, teacher, index = step.student.patch_logits.float(), step.teacher.patch_logits.float(), step.patch_index
    views, images, patches = step.patch_mask.shape
    all_teacher = teacher
    if len(index) == step.patch_mask.numel():  # the head ran on all patches: select the masked ones
        index = step.masked_index
        student, teacher = student[index], teacher[index]
    if settings.centering == "sinkhorn":
        probs = _sinkhorn_per_position(
            teacher, index % patches, patches, context.teacher_temperature, settings.sinkhorn_iterations
        )
    else:
        averaged = all_teacher if settings.centering == "ibot" else teacher
        probs = context.patch_center(teacher, context.teacher_temperature, averaged=averaged)
    return patch_cross_entropy(
        student,
        probs,
        view_of_patch=index // patches,
        views=views * images,
        student_temperature=settings.student_temperature,
    )


def _sinkhorn_per_position(
    logits: Tensor, position: Tensor, positions: int, temperature: float, iterations: int
) -> Tensor:
    """Sinkhorn-Knopp of patch logits, after subtracting the mean logits of each position.

    Otherwise an output that depends on the position alone would minimise the loss.
    """
    count = torch.zeros(positions, device=logits.device).index_add(
        0, position, torch.ones_like(position, dtype=torch.float32)
    )
    total = logits.new_zeros(positions, logits.shape[1]).index_add(0, position, logits)
    return sinkhorn_knopp(
        logits - (total / count[:, None].clamp(min=1.0))[position], temperature=temperature, iterations=iterations
    )


def koleo_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """KoLeo, averaged over the student's views."""
    return torch.stack([koleo(view) for view in cls_tokens(step.student, term)]).mean()


def variance_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """The variance hinge, averaged over the student's views."""
    return torch.stack([variance_hinge(view, **term.options) for view in cls_tokens(step.student, term)]).mean()


def two_views_value(loss: Callable[..., Tensor]) -> TermFunction:
    """A term for a loss between two student views, averaged over all pairs of views."""

    def value(context: Context, step: StepOutputs, term: Term) -> Tensor:
        views = cls_tokens(step.student, term)
        pairs = [(first, second) for first in range(len(views)) for second in range(first + 1, len(views))]
        return torch.stack([loss(views[first], views[second], **term.options) for first, second in pairs]).mean()

    return value


def lejepa_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """LeJEPA over the student's global views and local crops."""
    views = cls_tokens(step.student, term)
    local = None if step.student_local is None else cls_tokens(step.student_local, term)
    generator = torch.Generator(device=views.device).manual_seed(context.seed)
    return lejepa(views, local, generator, **term.options)


def simdino_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """SimDINO between the student's views, with local crops, and the teacher's."""
    assert step.teacher is not None, "the EMA teacher did not run"
    return simdino(student_cls_tokens(step, term), cls_tokens(step.teacher, term), **term.options)


def byol_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """BYOL between the predictor's output and the teacher's projection of another view."""
    assert step.student.cls_prediction is not None, "the head's predictor did not run"
    assert step.teacher is not None, "the EMA teacher did not run"
    prediction, teacher = step.student.cls_prediction.float(), cls_tokens(step.teacher, term)
    pairs = view_pairs(len(teacher), len(prediction))
    return torch.stack([byol(prediction[v], teacher[q]) for q, v in pairs]).mean()


def predictor_value(loss: Callable[..., Tensor]) -> TermFunction:
    """A loss between the student's predictor and the teacher's features: class tokens, or masked patches."""

    def value(context: Context, step: StepOutputs, term: Term) -> Tensor:
        assert step.student.prediction is not None, "the predictor did not run"
        if term.tokens == "cls":
            teacher = target_cls_tokens(step, term)
            student = step.student.prediction[:, :, 0].float()
            pairs = view_pairs(len(teacher), len(student), same_view=step.same_view)
            return torch.stack([loss(student[v], teacher[q], **term.options) for q, v in pairs]).mean()
        if len(step.masked_index) < 2:
            return step.student.features.float().sum() * 0.0
        prediction, target = (
            patches.flatten(0, 2)[step.masked_index]  # (V, B, N, D) -> (masked patches, D)
            for patches in (step.student.prediction[:, :, 1:], target_patch_tokens(step, term))
        )
        return loss(prediction.float(), target, **term.options)

    return value


def attention_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """Attention transfer between the class tokens of student and teacher in the last block."""
    assert step.student.attention is not None, "the student's attention was not computed"
    assert step.target.attention is not None, "the teacher's attention was not computed"
    return attention_transfer(step.student.attention.flatten(0, 2), step.target.attention.flatten(0, 2))


def relation_value(function: Callable[..., Tensor]) -> TermFunction:
    """A term for a relational loss function of student and teacher."""

    def value(context: Context, step: StepOutputs, term: Term) -> Tensor:
        batch = relation_batch(step, term, context.queue)
        optional = {"anchors": batch.anchors, "row_weights": batch.row_weights}
        given = {name: tensor for name, tensor in optional.items() if tensor is not None}
        return function(batch.student, batch.teacher, **given, **term.options)

    return value
