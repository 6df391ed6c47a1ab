"""Everything the package knows of a loss, in one record; a new loss is one line of `LOSSES`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from mrkd.config import Term
from mrkd.config.objective import Space, TokenKind
from mrkd.losses import relations
from mrkd.losses.angle import rkd_angle
from mrkd.losses.contrastive import nt_xent, vicreg
from mrkd.losses.distance import rkd_distance
from mrkd.losses.features import dist, hint
from mrkd.losses.regularizers import variance_hinge
from mrkd.objective.terms import (
    TermFunction,
    attention_value,
    ibot_cls_value,
    ibot_patch_value,
    koleo_value,
    predictor_value,
    relation_value,
    two_views_value,
    variance_value,
)

_EVERY_SPACE: tuple[Space, ...] = ("backbone", "projection", "bottleneck", "logits")
_EVERY_KIND: tuple[TokenKind, ...] = ("cls", "patch-position", "patch-image")
_FROM_THE_STEP = ("anchors", "row_weights")
"""Keyword arguments that a step gives, not a term's options."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss that a term can name."""

    value: TermFunction
    """Its value over one step."""
    function: Callable[..., Tensor] | None = None
    """The function whose keyword arguments are the term's options; None where there are none."""
    relational: bool = False
    """Whether it compares relations between tokens; these have settings of their own, such as `relation_weight`."""
    tokens: tuple[TokenKind, ...] = ("cls",)
    """What it can be about."""
    spaces: tuple[Space, ...] = _EVERY_SPACE
    """In which spaces it is defined."""
    takes_block: bool = False
    """Whether it can be about a block's output."""
    masked_patches_only: bool = False
    """Whether of patches in the head's spaces it needs masked ones alone."""
    same_view: bool = False
    """Whether it compares a masked view with the same view unmasked, even on class tokens."""
    needs_attention: bool = False
    needs_predictor: bool = False
    target: Literal["none", "ema", "any"] = "any"
    """Whose outputs it is matched to: nobody's, the EMA teacher's, or a frozen teacher's where there is one."""
    at_output: bool = True
    """Whether its gradient reaches the backbone's output, where gradient norms are measured."""
    scaled_beside_others: bool = False
    """Whether it is scaled and ramps in where it is added to another kind of loss."""
    joined_by_koleo: bool = False
    """Whether `objective.koleo` joins it where no relation is present."""
    once: bool = False
    """Whether a method has it once, so that metrics need not name its tokens."""
    label: Callable[[Term], str] = field(default=lambda term: term.loss)
    """What metrics call it, before its tokens."""
    check_options: Callable[[dict[str, Any], list[str]], None] | None = None
    """Checks options beyond their names, given them and the known names; raises ValueError. None checks names only."""

    def keywords(self) -> list[str]:
        """Keyword-only arguments of its function."""
        parameters = {} if self.function is None else inspect.signature(self.function).parameters
        return [item.name for item in parameters.values() if item.kind is item.KEYWORD_ONLY]

    def options(self) -> list[str]:
        """Names that a term's `options` may give."""
        return [name for name in self.keywords() if name not in _FROM_THE_STEP]

    @property
    def takes_anchors(self) -> bool:
        """Whether rows can be compared with others than themselves."""
        return self.relational and "anchors" in self.keywords()


def relation(function: Callable[..., Tensor], **more: Any) -> Loss:
    """The record of a relation between embeddings: every kind of token, every space, any block."""
    return Loss(
        value=relation_value(function),
        function=function,
        relational=True,
        tokens=_EVERY_KIND,
        takes_block=True,
        scaled_beside_others=True,
        **more,
    )


def predicted(function: Callable[..., Tensor]) -> Loss:
    """The record of a loss between a linear map of the student's tokens and the teacher's."""
    return Loss(
        value=predictor_value(function),
        function=function,
        tokens=_EVERY_KIND,
        spaces=("backbone",),
        needs_predictor=True,
        scaled_beside_others=True,
    )


def _check_free_relation(options: dict[str, Any], known: list[str]) -> None:
    if not {"potential", "divergence"} <= set(options):
        raise ValueError(f"relation needs the options potential and divergence, got {sorted(options)}")
    settings = {name: value for name, value in options.items() if name not in known}
    relations.check_relation(options["potential"], options["divergence"], settings)


def _free_label(term: Term) -> str:
    return f"{term.options['potential']}-{term.options['divergence']}"


LOSSES: dict[str, Loss] = {
    "ibot-cls": Loss(value=ibot_cls_value, target="ema", spaces=("logits",), joined_by_koleo=True, once=True),
    "ibot-patch": Loss(
        value=ibot_patch_value,
        target="ema",
        tokens=_EVERY_KIND,
        spaces=("logits",),
        masked_patches_only=True,
        same_view=True,
        once=True,
    ),
    "simclr": Loss(value=two_views_value(nt_xent), target="none", function=nt_xent, once=True),
    "vicreg": Loss(value=two_views_value(vicreg), target="none", function=vicreg, once=True),
    "hint": predicted(hint),
    "dist": predicted(dist),
    "attention": Loss(
        value=attention_value,
        spaces=("backbone",),
        same_view=True,
        needs_attention=True,
        at_output=False,
        scaled_beside_others=True,
        once=True,
    ),
    "koleo": Loss(value=koleo_value, target="none", takes_block=True, once=True),
    "variance": Loss(value=variance_value, target="none", function=variance_hinge, takes_block=True, once=True),
    "rkd-distance": relation(rkd_distance),
    "rkd-angle": relation(rkd_angle),
    "spkd": relation(relations.spkd),
    "pkt": relation(relations.pkt),
    "cckd": relation(relations.cckd),
    "relation-softmax": relation(relations.relation_softmax),
    "structural": relation(relations.structural),
    "cka": relation(relations.cka),
    "gram": relation(relations.gram),
    "dark-rank": relation(relations.dark_rank),
    "relation": relation(relations.relation, label=_free_label, check_options=_check_free_relation),
}
"""Name -> record."""
