"""The table of losses: one record for each says how to compute it and what it needs.

A new relational loss is one entry. Another loss also needs a function in `mrkd.objective.terms`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from mrkd.config import Term
from mrkd.config.sections.objective import Space, TokenKind
from mrkd.losses import relations
from mrkd.losses.angle import rkd_angle
from mrkd.losses.contrastive import barlow_twins, nt_xent, vicreg
from mrkd.losses.distance import rkd_distance
from mrkd.losses.features import dist, hint
from mrkd.losses.lejepa import lejepa
from mrkd.losses.regularizers import variance_hinge
from mrkd.losses.simdino import simdino
from mrkd.objective.term_values import (
    TermFunction,
    attention_value,
    byol_value,
    ibot_cls_value,
    ibot_patch_value,
    koleo_value,
    lejepa_value,
    predictor_value,
    relation_value,
    simdino_value,
    two_views_value,
    variance_value,
)

_ALL_SPACES: tuple[Space, ...] = ("backbone", "projection", "bottleneck", "logits")
_ALL_TOKENS: tuple[TokenKind, ...] = ("cls", "patch-position", "patch-image")
_STEP_ARGUMENTS = ("anchors", "row_weights")
"""Keyword arguments that come from the training step and not from a term's options."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss that a term can name."""

    value: TermFunction
    """Computes the loss from the outputs of one step."""
    function: Callable[..., Tensor] | None = None
    """The function whose keyword arguments are the term's options; None if it has no options."""
    relational: bool = False
    """Whether it compares relations between tokens; settings such as `relation_weight` apply to these losses only."""
    tokens: tuple[TokenKind, ...] = ("cls",)
    """The kinds of tokens on which it is defined."""
    spaces: tuple[Space, ...] = _ALL_SPACES
    """The spaces (outputs of backbone or head) on which it is defined."""
    accepts_block: bool = False
    """Whether it can be computed on the output of a block of the backbone."""
    masked_patches_only: bool = False
    """Whether, in the spaces of the head, it needs the masked patches only."""
    same_view: bool = False
    """Whether it compares a masked view with the same view unmasked, even on class tokens."""
    needs_attention: bool = False
    needs_predictor: bool = False
    needs_head_predictor: bool = False
    target: Literal["none", "ema", "any"] = "any"
    """Whose outputs it compares with: none, the EMA teacher's, or a frozen teacher's where there is one."""
    reaches_output: bool = True
    """Whether its gradient reaches the backbone's output, where gradient norms are measured."""
    scaled_when_mixed: bool = False
    """Whether it gets `relation_weight` and a ramp when combined with a loss for which this is False."""
    adds_koleo: bool = False
    """Whether a method with this loss and no relation also gets a KoLeo term, of weight `objective.koleo`."""
    label_without_tokens: bool = False
    """Whether metrics call it by the loss alone, because a method has at most one such term."""
    label: Callable[[Term], str] = field(default=lambda term: term.loss)
    """The first part of its name in metrics, before the tokens."""
    check_options: Callable[[dict[str, Any], list[str]], None] | None = None
    """Takes the options and the known names, and raises ValueError for wrong ones. None: only names are checked."""

    def keywords(self) -> list[str]:
        """The keyword-only arguments of its function."""
        parameters = {} if self.function is None else inspect.signature(self.function).parameters
        return [item.name for item in parameters.values() if item.kind is item.KEYWORD_ONLY]

    def options(self) -> list[str]:
        """The names that a term's `options` may contain."""
        return [name for name in self.keywords() if name not in _STEP_ARGUMENTS]

    @property
    def accepts_anchors(self) -> bool:
        """Whether rows can be compared with given anchors instead of each other."""
        return self.relational and "anchors" in self.keywords()


def relation(function: Callable[..., Tensor], **more: Any) -> Loss:
    """The record of a relational loss between embeddings: defined on all tokens, spaces and blocks."""
    return Loss(
        value=relation_value(function),
        function=function,
        relational=True,
        tokens=_ALL_TOKENS,
        accepts_block=True,
        scaled_when_mixed=True,
        **more,
    )


def predicted(function: Callable[..., Tensor]) -> Loss:
    """The record of a loss between a linear map of the student's tokens and the teacher's."""
    return Loss(
        value=predictor_value(function),
        function=function,
        tokens=_ALL_TOKENS,
        spaces=("backbone",),
        needs_predictor=True,
        scaled_when_mixed=True,
    )


def _check_relation_options(options: dict[str, Any], known: list[str]) -> None:
    if not {"potential", "divergence"} <= set(options):
        raise ValueError(f"relation needs the options potential and divergence, got {sorted(options)}")
    settings = {name: value for name, value in options.items() if name not in known}
    relations.check_relation(options["potential"], options["divergence"], settings)


def _relation_label(term: Term) -> str:
    return f"{term.options['potential']}-{term.options['divergence']}"


LOSSES: dict[str, Loss] = {
    "ibot-cls": Loss(
        value=ibot_cls_value, target="ema", spaces=("logits",), adds_koleo=True, label_without_tokens=True
    ),
    "ibot-patch": Loss(
        value=ibot_patch_value,
        target="ema",
        tokens=_ALL_TOKENS,
        spaces=("logits",),
        masked_patches_only=True,
        same_view=True,
        label_without_tokens=True,
    ),
    "simclr": Loss(value=two_views_value(nt_xent), target="none", function=nt_xent, label_without_tokens=True),
    "vicreg": Loss(value=two_views_value(vicreg), target="none", function=vicreg, label_without_tokens=True),
    "barlow-twins": Loss(
        value=two_views_value(barlow_twins), target="none", function=barlow_twins, label_without_tokens=True
    ),
    "lejepa": Loss(value=lejepa_value, target="none", function=lejepa, label_without_tokens=True),
    "simdino": Loss(value=simdino_value, target="ema", function=simdino, label_without_tokens=True),
    "byol": Loss(
        value=byol_value, target="ema", spaces=("projection",), needs_head_predictor=True, label_without_tokens=True
    ),
    "hint": predicted(hint),
    "dist": predicted(dist),
    "attention": Loss(
        value=attention_value,
        spaces=("backbone",),
        same_view=True,
        needs_attention=True,
        reaches_output=False,
        scaled_when_mixed=True,
        label_without_tokens=True,
    ),
    "koleo": Loss(value=koleo_value, target="none", accepts_block=True, label_without_tokens=True),
    "variance": Loss(
        value=variance_value, target="none", function=variance_hinge, accepts_block=True, label_without_tokens=True
    ),
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
    "relation": relation(relations.relation, label=_relation_label, check_options=_check_relation_options),
}
"""Name of a loss, as in `Term.loss` -> its record."""
