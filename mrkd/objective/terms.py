"""The tables of losses: a new relation is one line in `RELATIONS`, another kind of loss one in `TERMS`.

Axes: V views, B images, N patches, M patch tokens through the head, D embedding, K prototypes.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrkd.config import Config, DistillationConfig, Term
from mrkd.errors import UserError, nearest
from mrkd.losses import relations
from mrkd.losses.angle import rkd_angle
from mrkd.losses.centering import MovingCenter, sinkhorn_knopp
from mrkd.losses.contrastive import nt_xent, vicreg
from mrkd.losses.distance import rkd_distance
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.features import attention_transfer, hint
from mrkd.losses.regularizers import koleo, variance_hinge
from mrkd.objective.selection import cls_tokens, relation_batch, student_cls_tokens, view_pairs
from mrkd.objective.tokens import HeadNeed, Needs, StepOutputs

RELATIONS: dict[str, Callable[..., Tensor]] = {
    "rkd-distance": rkd_distance,
    "rkd-angle": rkd_angle,
    "spkd": relations.spkd,
    "pkt": relations.pkt,
    "cckd": relations.cckd,
    "relation-softmax": relations.relation_softmax,
    "structural": relations.structural,
    "cka": relations.cka,
    "gram": relations.gram,
    "dark-rank": relations.dark_rank,
    "relation": relations.relation,
}
"""Name -> function of student and teacher (N, D) or (G, N, D)."""


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


def _ibot_cls(context: Context, step: StepOutputs, term: Term) -> Tensor:
    settings = context.distillation
    logits = cls_tokens(step.teacher, term)
    if settings.centering == "sinkhorn":
        probs = sinkhorn_knopp(logits, temperature=context.teacher_temperature, iterations=settings.sinkhorn_iterations)
    else:
        probs = context.cls_center(logits.flatten(0, 1), context.teacher_temperature).view_as(logits)
    return cls_cross_entropy(student_cls_tokens(step, term), probs, student_temperature=settings.student_temperature)


def _ibot_patch(context: Context, step: StepOutputs, term: Term) -> Tensor:
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


def _koleo(context: Context, step: StepOutputs, term: Term) -> Tensor:
    return torch.stack([koleo(view) for view in cls_tokens(step.student, term)]).mean()


def _variance(context: Context, step: StepOutputs, term: Term) -> Tensor:
    return torch.stack([variance_hinge(view, **term.options) for view in cls_tokens(step.student, term)]).mean()


def _two_views(loss: Callable[..., Tensor]) -> "TermFunction":
    def value(context: Context, step: StepOutputs, term: Term) -> Tensor:
        views = cls_tokens(step.student, term)
        pairs = [(first, second) for first in range(len(views)) for second in range(first + 1, len(views))]
        return torch.stack([loss(views[first], views[second], **term.options) for first, second in pairs]).mean()

    return value


def _hint(context: Context, step: StepOutputs, term: Term) -> Tensor:
    assert step.student.prediction is not None, "the predictor did not run"
    if term.tokens == "cls":
        teacher = step.teacher.cls_backbone.float()
        student = step.student.prediction[:, :, 0].float()
        pairs = view_pairs(len(teacher), len(student))
        return torch.stack([hint(student[v], teacher[q], **term.options) for q, v in pairs]).mean()
    if len(step.masked_index) < 2:
        return step.student.features.float().sum() * 0.0
    assert step.teacher.patch_backbone is not None, "the teacher's patches were not computed"
    prediction, target = (
        patches.flatten(0, 2)[step.masked_index]  # (V, B, N, D) -> (masked patches, D)
        for patches in (step.student.prediction[:, :, 1:], step.teacher.patch_backbone)
    )
    return hint(prediction.float(), target.float(), **term.options)


def _attention(context: Context, step: StepOutputs, term: Term) -> Tensor:
    assert step.student.attention is not None, "no attention was kept"
    assert step.teacher.attention is not None, "no attention was kept"
    return attention_transfer(step.student.attention.flatten(0, 2), step.teacher.attention.flatten(0, 2))


def _relation(context: Context, step: StepOutputs, term: Term) -> Tensor:
    batch = relation_batch(step, term)
    # The kernels of RKD take weights, of which a mask is the special case.
    mask_name = "row_weights" if "row_weights" in _keywords(term.loss) else "row_mask"
    optional = {"anchors": batch.anchors, mask_name: batch.row_mask}
    given = {name: value for name, value in optional.items() if value is not None}
    return RELATIONS[term.loss](batch.student, batch.teacher, **given, **term.options)


TermFunction = Callable[[Context, StepOutputs, Term], Tensor]

TERMS: dict[str, TermFunction] = {
    "ibot-cls": _ibot_cls,
    "ibot-patch": _ibot_patch,
    "simclr": _two_views(nt_xent),
    "vicreg": _two_views(vicreg),
    "hint": _hint,
    "attention": _attention,
    "koleo": _koleo,
    "variance": _variance,
}
"""Name -> value of a term over one step, for losses that are not relations."""

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "simclr": nt_xent,
    "vicreg": vicreg,
    "hint": hint,
    "variance": variance_hinge,
}


def loss_names() -> list[str]:
    """Every loss a term can name."""
    return [*TERMS, *RELATIONS]


def term_function(loss: str) -> TermFunction:
    """What computes a term's value; `loss` is one of `loss_names`."""
    return _relation if loss in RELATIONS else TERMS[loss]


_FROM_THE_STEP = ("anchors", "row_mask", "row_weights")
_TAKES_MASKED_PATCHES = frozenset({"ibot-patch", "attention"})


def option_names(loss: str) -> list[str]:
    """Keyword arguments of a loss that a term's `options` may give."""
    parameters = _keywords(loss).values()
    return [item.name for item in parameters if item.kind is item.KEYWORD_ONLY and item.name not in _FROM_THE_STEP]


def check_term(term: Term, config: Config) -> None:
    """Refuse a term that is unknown, contradicts itself, or compares what is equal by construction.

    Raises:
        UserError: with the reason.
    """
    if term.loss not in loss_names():
        raise UserError(f"unknown loss {term.loss!r}: {nearest(term.loss, loss_names())}")
    _check_options(term)
    if term.tokens != "cls" and term.loss not in {*RELATIONS, "ibot-patch", "hint"}:
        raise UserError(f"{term.loss} is not about patch tokens, got tokens {term.tokens!r}")
    if term.loss in ("attention", "hint") and term.space != "backbone":
        raise UserError(f"{term.loss} is defined on the backbone, got space {term.space!r}")
    if term.loss.startswith("ibot") and term.space != "logits":
        raise UserError(f"{term.loss} is defined on logits, got space {term.space!r}")
    if term.block is not None and (term.space != "backbone" or term.loss not in {*RELATIONS, "koleo", "variance"}):
        raise UserError(f"{term.loss}: a block of the backbone has no {term.space}; leave block or space out")
    if term.rows == "masked" and (term.tokens == "cls" or term.loss not in RELATIONS):
        raise UserError(f"{term.loss}: rows 'masked' is for relations between patches, got tokens {term.tokens!r}")
    if term.anchors != "own" and (term.loss not in RELATIONS or "anchors" not in _keywords(term.loss)):
        raise UserError(f"{term.loss} takes no anchors")
    if term.grad_norm_ratio is not None and (term.block is not None or term.loss == "attention"):
        raise UserError(
            f"{term.loss}: a share is measured at the backbone's output, which this term does not use; give a weight"
        )
    masked = config.mask.probability > 0 and config.mask.ratio[1] > 0
    on_patches = term.tokens != "cls" or term.loss in _TAKES_MASKED_PATCHES
    if on_patches and not masked:
        raise UserError(
            f"{term.loss} on {term.tokens if term.tokens != 'cls' else 'attention'} compares a masked view with the "
            "same view unmasked; without masks the teacher, an average of the student, agrees by construction: set "
            "mask.probability and mask.ratio above 0"
        )


def _keywords(loss: str) -> Mapping[str, inspect.Parameter]:
    function = RELATIONS.get(loss) or _FUNCTIONS.get(loss)
    return {} if function is None else inspect.signature(function).parameters


def _check_options(term: Term) -> None:
    known = option_names(term.loss)
    if term.loss == "relation":
        options: dict[str, Any] = dict(term.options)
        if not {"potential", "divergence"} <= set(options):
            raise UserError(f"relation needs the options potential and divergence, got {sorted(options)}")
        settings = {name: value for name, value in options.items() if name not in known}
        try:
            relations.check_relation(options["potential"], options["divergence"], settings)
        except ValueError as error:
            raise UserError(str(error)) from None
        return
    for name in term.options:
        if name not in known:
            hint_text = nearest(name, known) if known else "it has none"
            raise UserError(f"{term.loss} has no option {name!r}: {hint_text}")


def needs_of(terms: Iterable[Term]) -> Needs:
    """What the networks must compute for these terms."""
    terms = tuple(terms)
    head: HeadNeed = "none"
    for term in terms:
        if term.space == "backbone":
            continue
        if term.loss == "ibot-patch":
            head = head if head == "all" else "masked"
        elif term.tokens != "cls":
            head = "all"
        elif head == "none":
            head = "cls"
    on_patches = any(term.tokens != "cls" and term.space == "backbone" and term.block is None for term in terms)
    return Needs(
        head=head,
        patches=on_patches or head == "all",
        blocks=tuple(sorted({term.block for term in terms if term.block is not None})),
        attention=any(term.loss == "attention" for term in terms),
        predictor=any(term.loss == "hint" for term in terms),
    )
