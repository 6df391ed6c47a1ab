"""Section `objective`: the method, its terms and their weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mrkd.config.checks import check_fraction, check_least, require
from mrkd.config.setting import setting

TokenKind = Literal["cls", "patch-position", "patch-image"]
Space = Literal["backbone", "projection", "bottleneck", "logits"]
Anchors = Literal["own", "teacher", "queue"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a method: a loss, the tokens it compares, and its weight."""

    loss: str
    """A name from the table in `mrkd.objective.loss_table`."""
    tokens: TokenKind = "cls"
    """Class tokens across the batch, patches at the same position across the batch, or patches within an image."""
    space: Space = "backbone"
    """Output of the backbone, or of the head: last linear layer (`projection`), the same normalised, or logits."""
    block: int | None = None
    """Number of a block, counted from 0, to use its output instead of the backbone's."""
    rows: Literal["all", "masked"] = "all"
    """The patches used as rows of a relation between patches."""
    anchors: Anchors = "own"
    """Relations among a network's own tokens (`own`), of both networks' tokens to the teacher's (`teacher`), or to the
    teacher's and to a queue of its class tokens of earlier steps (`queue`)."""
    weight: float = 1.0
    """Weight of this term in the sum."""
    grad_norm_ratio: float | None = setting(None, formerly="share")
    """Used instead of a weight: norm of the term's gradient at the backbone's output, as a multiple of the norm of the
    gradient of all terms with a weight together."""
    ramp: float = 0.0
    """Fraction of the run over which the weight rises linearly from 0."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the loss function, such as `standardize: true`."""

    def __post_init__(self) -> None:
        require(self.weight >= 0, f"term {self.loss}: weight must be 0 or more, got {self.weight}")
        require(
            self.grad_norm_ratio is None or self.grad_norm_ratio > 0,
            f"term {self.loss}: grad_norm_ratio must be positive, got {self.grad_norm_ratio}",
        )
        require(self.block is None or self.block >= 0, f"term {self.loss}: block must be 0 or more, got {self.block}")
        check_fraction(f"term {self.loss}: ramp", self.ramp)


def canonical_method(name: str) -> str:
    """The name of a method as the package writes it: `iBOT + RKD_D` becomes `ibot+rkd-d`."""
    return "+".join(part.strip().lower().replace("_", "-").replace(" ", "-") for part in name.split("+"))


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The method, and the weights of its terms."""

    method: str = "ibot+rkd-d"
    """A name from `mrkd methods`, or several joined by `+`, such as `ibot+rkd-d`; case and `_` do not matter."""
    terms: list[Term] | None = None
    """The terms of your own method; `method` is then only its name."""
    relation_weight: float = 5.0
    """Weight of each relation that is combined with another kind of loss."""
    relation_grad_norm_ratio: float | None = setting(None, formerly="objective.relation_share")
    """Used instead of `relation_weight`: the `grad_norm_ratio` of relations combined with another kind of loss."""
    relation_space: Space | None = None
    """Layer whose output all relations compare: `backbone`, or `projection`, `bottleneck` or `logits` of the head; null
    keeps the space of each method."""
    relation_anchors: Anchors | None = None
    """What all relations compare their rows with: `own` (each other), `teacher` (the teacher's embeddings) or `queue`
    (these and the teacher's class tokens of earlier steps; relations between patches then keep the anchors of the
    method). Null keeps the anchors of each method."""
    queue_images: int = 4096
    """Length of the queue of `relation_anchors: queue`, in images."""
    relation_options: dict[str, Any] = field(default_factory=dict)
    """Options for all relations that have them, such as `{standardize: true}`; they override a method's own."""
    patch_relation_weight: float = 1.0
    """Weight of relations between patches, relative to those between images."""
    koleo: float = 0.0
    """Weight of a KoLeo term on the backbone's class tokens. Only methods with iBOT's class term and without relations
    get this term."""

    def __post_init__(self) -> None:
        if self.terms is None:
            object.__setattr__(self, "method", canonical_method(self.method))
        for name in ("relation_weight", "patch_relation_weight", "koleo"):
            require(getattr(self, name) >= 0, f"objective.{name} must be 0 or more, got {getattr(self, name)}")
        require(
            self.relation_grad_norm_ratio is None or self.relation_grad_norm_ratio > 0,
            f"objective.relation_grad_norm_ratio must be positive, got {self.relation_grad_norm_ratio}",
        )
        check_least(1, "objective", self, "queue_images")
