"""The value of a term over one step, for each loss that is not simply a function of two embeddings.

Axes: V views, B images, N patches, M patch tokens through the head, D embedding, K prototypes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mrkd.config import DistillationConfig, Term
from mrkd.losses.centering import MovingCenter, sinkhorn_knopp
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.features import attention_transfer
from mrkd.losses.regularizers import koleo, variance_hinge
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
    """What terms use besides the step."""

    distillation: DistillationConfig
    """Temperatures and the kind of centring."""
    teacher_temperature: float
    """This step's."""
    cls_center: MovingCenter
    """Moving centre of the class tokens' logits."""
    patch_center: MovingCenter
    """Moving centre of the patches' logits."""


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
    if len(index) == step.patch_mask.numel():  # the head ran on every patch; the cross-entropy is for masked ones
        index = step.masked_index
        student, teacher = student[index], teacher[index]
    if settings.centering == "sinkhorn":
        probs = _sinkhorn_per_position(
            teacher, index % patches, patches, context.teacher_temperature, settings.sinkhorn_iterations
        )
    else:
        probs = context.patch_center(teacher, context.teacher_temperature)
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
    """Balance the patches without what their position alone predicts: a code for it would satisfy the loss.

    Subtracting each position's mean logit removes that part; the balance is then joint.
    """
    count = torch.zeros(positions, device=logits.device).index_add(
        0, position, torch.ones_like(position, dtype=torch.float32)
    )
    total = logits.new_zeros(positions, logits.shape[1]).index_add(0, position, logits)
    return sinkhorn_knopp(
        logits - (total / count[:, None].clamp(min=1.0))[position], temperature=temperature, iterations=iterations
    )


def koleo_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """KoLeo of each of the student's views, averaged."""
    return torch.stack([koleo(view) for view in cls_tokens(step.student, term)]).mean()


def variance_value(context: Context, step: StepOutputs, term: Term) -> Tensor:
    """The hinge on the variance of each of the student's views, averaged."""
    return torch.stack([variance_hinge(view, **term.options) for view in cls_tokens(step.student, term)]).mean()


def two_views_value(loss: Callable[..., Tensor]) -> TermFunction:
    """A loss between two of the student's views, averaged over all pairs of views."""

    def value(context: Context, step: StepOutputs, term: Term) -> Tensor:
        views = cls_tokens(step.student, term)
        pairs = [(first, second) for first in range(len(views)) for second in range(first + 1, len(views))]
        return torch.stack([loss(views[first], views[second], **term.options) for first, second in pairs]).mean()

    return value


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
    """The class token's attention, student against teacher."""
    assert step.student.attention is not None, "no attention was kept"
    assert step.target.attention is not None, "no attention was kept"
    return attention_transfer(step.student.attention.flatten(0, 2), step.target.attention.flatten(0, 2))


def relation_value(function: Callable[..., Tensor]) -> TermFunction:
    """A term that compares relations of the student with the teacher's by `function`."""

    def value(context: Context, step: StepOutputs, term: Term) -> Tensor:
        batch = relation_batch(step, term)
        optional = {"anchors": batch.anchors, "row_weights": batch.row_weights}
        given = {name: tensor for name, tensor in optional.items() if tensor is not None}
        return function(batch.student, batch.teacher, **given, **term.options)

    return value
