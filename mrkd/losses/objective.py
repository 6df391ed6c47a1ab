"""The weighted sum of a method's terms over one step. A new loss is one function and one line in `TERMS`.

Axes: V views, B images, N patches, M patch tokens through the head, D embedding, K prototypes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrkd.config import Config, Term
from mrkd.errors import UserError, nearest
from mrkd.losses.centering import MovingCenter, sinkhorn_knopp
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.regularizers import koleo
from mrkd.losses.relational import rkd_angle, rkd_distance, structural
from mrkd.tokens import HeadNeed, Step, ViewTokens


@dataclass(frozen=True, kw_only=True)
class Losses:
    """One step's loss and its parts."""

    total: Tensor
    """Scalar, the weighted sum."""
    by_term: dict[str, Tensor]
    """Term label to its unweighted scalar, detached."""


class Objective(nn.Module):
    """Terms plus the only state losses have: the moving centres."""

    def __init__(self, config: Config, terms: tuple[Term, ...]) -> None:
        super().__init__()
        for term in terms:
            _check_term(term)
        self.terms = terms
        self.config = config
        distillation = config.distillation
        self.cls_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.patch_center = MovingCenter(config.head.prototypes, distillation.center_momentum)

    def forward(self, step: Step, *, teacher_temperature: float, progress: float) -> Losses:
        """The loss of one step; `progress` in [0, 1] is the part of the run that is done, for weight ramps."""
        total = step.student.cls_backbone.new_zeros((), dtype=torch.float32)
        by_term: dict[str, Tensor] = {}
        device_type = total.device.type
        with torch.autocast(device_type, enabled=False):
            for term in self.terms:
                value = TERMS[term.loss](self, step, term, teacher_temperature)
                ramp = min(progress / term.ramp, 1.0) if term.ramp > 0 else 1.0
                total = total + term.weight * ramp * value
                by_term[label(term)] = value.detach()
        return Losses(total=total, by_term=by_term)


def label(term: Term) -> str:
    """`rkd-distance/cls`: the loss and its tokens, as metrics and reports name it."""
    return term.loss if term.loss.startswith("ibot") or term.loss == "koleo" else f"{term.loss}/{term.tokens}"


def head_need(terms: tuple[Term, ...]) -> HeadNeed:
    """What the networks' head must compute: `none`, `cls`, `masked` or `all` (see `TeacherStudent`)."""
    need: HeadNeed = "none"
    for term in terms:
        if term.space == "backbone":
            continue
        if term.loss == "ibot-patch":
            need = need if need == "all" else "masked"
        elif term.tokens != "cls":
            need = "all"
        elif need == "none":
            need = "cls"
    return need


def _check_term(term: Term) -> None:
    if term.loss not in TERMS:
        raise UserError(f"unknown loss {term.loss!r}: {nearest(term.loss, TERMS)}")
    if term.loss.startswith("ibot") and term.space != "logits":
        raise UserError(f"{term.loss} is defined on logits, got space {term.space!r}")


def _ibot_cls(objective: Objective, step: Step, term: Term, teacher_temperature: float) -> Tensor:
    assert step.student.cls_logits is not None
    assert step.teacher.cls_logits is not None
    settings = objective.config.distillation
    logits = step.teacher.cls_logits.float()
    if settings.centering == "sinkhorn":
        probs = sinkhorn_knopp(logits, temperature=teacher_temperature, iterations=settings.sinkhorn_iterations)
    else:
        probs = objective.cls_center(logits.flatten(0, 1), teacher_temperature).view_as(logits)
    student = step.student.cls_logits.float()
    if step.student_local is not None and step.student_local.cls_logits is not None:
        student = torch.cat([student, step.student_local.cls_logits.float()])
    return cls_cross_entropy(student, probs, student_temperature=settings.student_temperature)


def _ibot_patch(objective: Objective, step: Step, term: Term, teacher_temperature: float) -> Tensor:
    if step.student.patch_logits is None or step.teacher.patch_logits is None:  # no patch was masked in this step
        return step.student.cls_backbone.float().sum() * 0.0
    settings = objective.config.distillation
    student, teacher, index = step.student.patch_logits.float(), step.teacher.patch_logits.float(), step.patch_index
    views, images, patches = step.patch_mask.shape
    if len(index) == step.patch_mask.numel():  # the head ran on every patch; the cross-entropy is for masked ones
        index = step.patch_mask.flatten().nonzero().flatten()
        student, teacher = student[index], teacher[index]
    if settings.centering == "sinkhorn":
        probs = _sinkhorn_per_position(teacher, index % patches, teacher_temperature, settings.sinkhorn_iterations)
    else:
        probs = objective.patch_center(teacher, teacher_temperature)
    return patch_cross_entropy(
        student,
        probs,
        view_of_patch=index // patches,
        views=views * images,
        student_temperature=settings.student_temperature,
    )


def _sinkhorn_per_position(logits: Tensor, position: Tensor, temperature: float, iterations: int) -> Tensor:
    """Balance each position's patches apart: with few patches, a code for the position would satisfy the loss.

    Subtracting each position's mean logit removes what the position alone predicts; the balance is then joint.
    """
    count = torch.zeros(int(position.max()) + 1, device=logits.device).index_add(
        0, position, torch.ones_like(position, dtype=torch.float32)
    )
    total = logits.new_zeros(len(count), logits.shape[1]).index_add(0, position, logits)
    return sinkhorn_knopp(
        logits - (total / count[:, None].clamp(min=1.0))[position], temperature=temperature, iterations=iterations
    )


def _relation(function: Callable[[Tensor, Tensor], Tensor]) -> "TermFunction":
    def term_value(objective: Objective, step: Step, term: Term, teacher_temperature: float) -> Tensor:
        return torch.stack([function(student, teacher) for student, teacher in relation_pairs(step, term)]).mean()

    return term_value


def _structural(objective: Objective, step: Step, term: Term, teacher_temperature: float) -> Tensor:
    settings = objective.config.structural
    values = [
        structural(
            student,
            teacher,
            teacher if settings.anchors == "teacher" else None,
            student_temperature=settings.student_temperature,
            teacher_temperature=settings.teacher_temperature,
            keep_self=settings.keep_self,
            sinkhorn_iterations=settings.sinkhorn_iterations,
        )
        for student, teacher in relation_pairs(step, term)
    ]
    return torch.stack(values).mean()


def _koleo(objective: Objective, step: Step, term: Term, teacher_temperature: float) -> Tensor:
    tokens = cls_tokens(step.student, term.space)
    return torch.stack([koleo(view) for view in tokens]).mean()


TermFunction = Callable[[Objective, Step, Term, float], Tensor]

TERMS: dict[str, TermFunction] = {
    "ibot-cls": _ibot_cls,
    "ibot-patch": _ibot_patch,
    "rkd-distance": _relation(rkd_distance),
    "rkd-angle": _relation(rkd_angle),
    "structural": _structural,
    "koleo": _koleo,
}


def relation_pairs(step: Step, term: Term) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of student and teacher embeddings, (N, D) or (G, N, D), whose relations a term compares.

    Class tokens: every teacher view with every other student view, local crops included; equal views would agree by
    construction. Patches: the masked student view with the full teacher view, at one position across the batch or
    within one image.
    """
    if term.tokens == "cls":
        teacher_views = cls_tokens(step.teacher, term.space)
        student_views = cls_tokens(step.student, term.space)
        if step.student_local is not None:
            student_views = torch.cat([student_views, cls_tokens(step.student_local, term.space)])
        for q, teacher in enumerate(teacher_views):
            for v, student in enumerate(student_views):
                if v != q:
                    yield student, teacher
        return
    student_patches, teacher_patches = _patches(step.student, step, term), _patches(step.teacher, step, term)
    for student_view, teacher_view in zip(student_patches, teacher_patches, strict=True):  # (B, N, D)
        if term.tokens == "patch-position":  # (B, N, D) -> N groups of B images
            yield student_view.transpose(0, 1), teacher_view.transpose(0, 1)
        else:
            yield student_view, teacher_view


def cls_tokens(tokens: ViewTokens, space: str) -> Tensor:
    """Class tokens (V, B, .) in the given space."""
    chosen = {"backbone": tokens.cls_backbone, "bottleneck": tokens.cls_bottleneck, "logits": tokens.cls_logits}[space]
    assert chosen is not None, f"the head did not run, but a term asks for {space}"
    return chosen.float()


def _patches(tokens: ViewTokens, step: Step, term: Term) -> Tensor:
    chosen = {
        "backbone": tokens.patch_backbone,
        "bottleneck": tokens.patch_bottleneck,
        "logits": tokens.patch_logits,
    }[term.space]
    assert chosen is not None, f"the head did not run on patches, but a term asks for {term.space}"
    return chosen.float() if chosen.ndim == 4 else chosen.float().unflatten(0, tuple(step.patch_mask.shape))
