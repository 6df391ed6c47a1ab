"""Check terms, and find out what they need from the networks, from the records in `loss_table`."""

from collections.abc import Iterable

from mrkd.config import Config, Term
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
    if term.grad_norm_ratio is not None and (term.block is not None or not loss.reaches_output):
        raise UserError(
            f"{term.loss}: grad_norm_ratio is measured at the backbone's output, which this term does not use; give a "
            "weight"
        )
    masked = config.mask.probability > 0 and config.mask.ratio[1] > 0
    if (term.tokens != "cls" or loss.same_view) and not masked:
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


def needs_of(terms: Iterable[Term], *, centering: str = "sinkhorn") -> Needs:
    """The outputs that the networks must compute for these terms, with this `distillation.centering`."""
    terms = tuple(terms)
    losses = [LOSSES[term.loss] for term in terms]
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
    on_patches = any(term.tokens != "cls" and term.space == "backbone" and term.block is None for term in terms)
    return Needs(
        head=head,
        patches=on_patches or head == "all",
        blocks=tuple(sorted({term.block for term in terms if term.block is not None})),
        attention=any(loss.needs_attention for loss in losses),
        predictor=any(loss.needs_predictor for loss in losses),
        head_predictor=any(loss.needs_head_predictor for loss in losses),
    )


def label(term: Term) -> str:
    """The name of a term in metrics and reports: its loss and its tokens, such as `rkd-distance/cls`."""
    loss = LOSSES[term.loss]
    if loss.label_without_tokens:
        return term.loss
    tokens = term.tokens if term.block is None else f"{term.tokens}/block{term.block}"
    return f"{loss.label(term)}/{tokens}"
