"""Check terms, and find out what they need from the networks, from the records in `loss_table`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrkd.config import Config, Term
from mrkd.config.sections.objective import Space
from mrkd.errors import UserError, nearest
from mrkd.objective.loss_table import LOSSES, Loss
from mrkd.objective.tokens import HeadNeed, Needs


def check_term(term: Term, config: Config) -> None:
    """Refuse a term that is unknown, contradictory, or zero by construction.

    Raises:
        UserError: with the reason.
    """
    if term.loss not in LOSSES:
        raise UserError(f"unknown loss {term.loss!r}: {nearest(term.loss, LOSSES)}")
    loss = LOSSES[term.loss]
    _check_options(term, loss)
    _check_tokens(term, loss)
    if term.anchors != "own" and not loss.accepts_anchors:
        raise UserError(f"{term.loss} cannot be used with anchors: leave anchors out")
    if term.anchors == "queue" and term.tokens != "cls":
        raise UserError(f"{term.loss}: anchors 'queue' needs tokens cls, which a queue holds, got {term.tokens!r}")
    if term.grad_norm_ratio is not None and (term.block is not None or not loss.reaches_output):
        raise UserError(
            f"{term.loss}: grad_norm_ratio is measured at the backbone's output, which this term does not use; give a "
            "weight"
        )
    masked = config.mask.probability > 0 and config.mask.ratio[1] > 0
    frozen = config.teacher.source is not None and loss.target == "any"
    if not (masked or frozen) and (term.tokens != "cls" or loss.same_view):
        raise UserError(
            f"{term.loss} on {term.tokens if term.tokens != 'cls' else 'attention'} compares a masked view with the "
            "same view unmasked; without masks both are nearly equal and nothing is learnt: set mask.probability and "
            "mask.ratio above 0"
        )


def _check_tokens(term: Term, loss: Loss) -> None:
    if term.tokens not in loss.tokens:
        raise UserError(f"{term.loss} is defined on tokens {', '.join(loss.tokens)}, got {term.tokens!r}")
    if term.space not in loss.spaces:
        raise UserError(f"{term.loss} is defined on space {loss.spaces[0]}, got {term.space!r}")
    if term.block is not None and (term.space != "backbone" or not loss.accepts_block):
        raise UserError(
            f"{term.loss}: block {term.block} is in the backbone and has no {term.space}; leave out block or space"
        )
    if term.rows == "masked" and (term.tokens == "cls" or not loss.relational):
        raise UserError(f"{term.loss}: rows 'masked' needs a relation between patches, got tokens {term.tokens!r}")


def _check_options(term: Term, loss: Loss) -> None:
    known = loss.options()
    if loss.check_options is not None:
        try:
            loss.check_options(dict(term.options), known)
        except ValueError as error:
            raise UserError(str(error)) from None
        return
    for name in term.options:
        if name not in known:
            hint = nearest(name, known) if known else "it has none"
            raise UserError(f"{term.loss} has no option {name!r}: {hint}")


def learns_from_frozen(terms: Iterable[Term]) -> bool:
    """Whether any term would be matched to a frozen teacher."""
    return any(LOSSES[term.loss].target == "any" for term in terms)


def check_teacher(terms: Sequence[Term], config: Config) -> None:
    """Refuse a frozen teacher from which no term learns; without terms nothing does.

    Raises:
        UserError: with the reason.
    """
    if config.teacher.source is None or not terms:
        return
    learning = [term for term in terms if LOSSES[term.loss].target == "any"]
    if not learns_from_frozen(terms):
        raise UserError(
            f"{config.objective.method} takes nothing from a frozen teacher: add a relation or fitnet to it, such as "
            f"{config.objective.method}+rkd-d, or leave out teacher.source"
        )
    if config.views.local_views and config.teacher.views == "same" and len(learning) == len(terms):
        raise UserError(
            "with teacher.views same no term uses the local crops: set views.local_views 0, or teacher.views other"
        )


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Numbers of a network that a term may need to be equal."""

    cls: int
    """Channels of an image's embedding."""
    patch: int
    """Channels of a patch."""
    heads: int | None
    """Of the class token's attention; None where there is none."""


def space_width(space: Space, backbone_width: int, config: Config) -> int:
    """Number of channels of the class tokens in a space."""
    in_head = {"projection": config.head.bottleneck, "bottleneck": config.head.bottleneck}
    return {**in_head, "backbone": backbone_width, "logits": config.head.prototypes}[space]


def check_widths(terms: Iterable[Term], config: Config, student: Widths, teacher: Widths) -> None:
    """Refuse terms that compare channels or heads one by one where student and frozen teacher differ in them.

    Raises:
        UserError: says both numbers and what does not depend on them.
    """
    for term in (term for term in terms if LOSSES[term.loss].target == "any"):
        theirs = teacher.cls if term.tokens == "cls" else teacher.patch
        ours = space_width(term.space, student.cls, config)
        if term.anchors != "own" and ours != theirs:
            raise UserError(
                f"{term.loss} compares the student's {ours} channels with the teacher's {theirs}: set "
                f"objective.relation_space projection and head.bottleneck {theirs}, or take a relation within each "
                "network, such as relation-softmax or rkd-d"
            )
        if LOSSES[term.loss].needs_attention and student.heads != teacher.heads:
            raise UserError(
                f"{term.loss} compares attention head by head, and the student has {student.heads}, the teacher "
                f"{teacher.heads or 'none'}: set model.heads {teacher.heads}, or take a relation"
            )
        if LOSSES[term.loss].needs_predictor and teacher.cls != teacher.patch:
            raise UserError(
                f"{term.loss} has one map for images and patches, and the teacher's have {teacher.cls} and "
                f"{teacher.patch} channels: take a relation"
            )


def needs_of(terms: Iterable[Term], *, centering: str = "sinkhorn", frozen: bool = False) -> Needs:
    """The outputs that the networks must compute for these terms.

    Args:
        terms: of a method.
        centering: `distillation.centering`.
        frozen: whether there is a frozen teacher.
    """
    terms = tuple(terms)
    losses = [LOSSES[term.loss] for term in terms]
    learning = [term for term in terms if frozen and LOSSES[term.loss].target == "any"]
    head: HeadNeed = "none"
    for term, loss in zip(terms, losses, strict=True):
        if term.space == "backbone":
            continue
        if loss.masked_patches_only and centering != "ibot":
            head = head if head == "all" else "masked"
        elif term.tokens != "cls":
            head = "all"
        elif head == "none":
            head = "cls"

    def on_patches(some: Iterable[Term]) -> bool:
        return any(term.tokens != "cls" and term.space == "backbone" and term.block is None for term in some)

    return Needs(
        head=head,
        patches=on_patches(terms) or head == "all",
        blocks=tuple(sorted({term.block for term in terms if term.block is not None})),
        attention=any(loss.needs_attention for loss in losses),
        predictor=any(loss.needs_predictor for loss in losses),
        head_predictor=any(loss.needs_head_predictor for loss in losses),
        ema=not learning or any(loss.target == "ema" for loss in losses),
        ema_patches=not learning or on_patches(term for term in terms if term not in learning),
        frozen_patches=any(term.tokens != "cls" for term in learning),
    )


def label(term: Term) -> str:
    """The name of a term in metrics and reports: its loss and its tokens, such as `rkd-distance/cls`."""
    loss = LOSSES[term.loss]
    if loss.label_without_tokens:
        return term.loss
    tokens = term.tokens if term.block is None else f"{term.tokens}/block{term.block}"
    return f"{loss.label(term)}/{tokens}"
