"""Settings of the losses: targets, terms and their weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mrkd.config.checks import check_fraction, check_least, require
from mrkd.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How the teacher's logits become targets for iBOT's cross-entropy."""

    student_temperature: float = 0.1
    """Divides the student's cosines."""
    teacher_temperature: float = 0.07
    """Divides the teacher's cosines after the warm-up."""
    teacher_temperature_start: float = 0.04
    """Divides them at the first step."""
    teacher_temperature_warmup: float = 0.3
    """Part of the run over which it rises, as a fraction."""
    centering: Literal["sinkhorn", "ema"] = "sinkhorn"
    """Sinkhorn-Knopp on each batch, or iBOT's moving centre."""
    sinkhorn_iterations: int = 3
    """Row-and-column normalisations."""
    center_momentum: float = 0.9
    """Momentum of the moving centre."""

    def __post_init__(self) -> None:
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            require(getattr(self, name) > 0, f"distillation.{name} must be positive, got {getattr(self, name)}")
        for name in ("teacher_temperature_warmup", "center_momentum"):
            check_fraction(f"distillation.{name}", getattr(self, name))
        check_least(1, "distillation", self, "sinkhorn_iterations")


TokenKind = Literal["cls", "patch-position", "patch-image"]
Space = Literal["backbone", "projection", "bottleneck", "logits"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One named loss of a method."""

    loss: str
    """A name from the table in `mrkd.objective.loss_table`."""
    tokens: TokenKind = "cls"
    """Class tokens across the batch, patches at one position across the batch, or patches within an image."""
    space: Space = "backbone"
    """Backbone output, or the head's last linear layer, its normalised form or the prototype logits."""
    block: int | None = None
    """A block of the backbone, counted from 0, whose output is used instead of the backbone's."""
    rows: Literal["all", "masked"] = "all"
    """Which patches a patch relation starts from."""
    anchors: Literal["own", "teacher"] = "own"
    """Relations to one's own other tokens, or of both networks to the teacher's."""
    weight: float = 1.0
    """Factor of this term in the sum."""
    grad_norm_ratio: float | None = setting(None, formerly="share")
    """Instead of a weight: the term's gradient at the backbone's output is this many times as long as that of all
    terms with a plain weight together."""
    ramp: float = 0.0
    """Part of the run over which the weight rises from 0, as a fraction."""
    options: dict[str, Any] = field(default_factory=dict)
    """The loss function's own keyword arguments, such as `standardize: true`."""

    def __post_init__(self) -> None:
        require(self.weight >= 0, f"term {self.loss}: weight must be 0 or more, got {self.weight}")
        require(
            self.grad_norm_ratio is None or self.grad_norm_ratio > 0,
            f"term {self.loss}: grad_norm_ratio must be positive, got {self.grad_norm_ratio}",
        )
        require(self.block is None or self.block >= 0, f"term {self.loss}: block must be 0 or more, got {self.block}")
        check_fraction(f"term {self.loss}: ramp", self.ramp)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which method, and how its terms are weighed."""

    method: str = "ibot+rkd-d"
    """A name from `mrkd methods`, or several joined by `+`."""
    terms: list[Term] | None = None
    """A method of one's own: when given, these terms are used and `method` is only their name."""
    relation_weight: float = 5.0
    """Factor on every relation that is added to another kind of loss."""
    relation_grad_norm_ratio: float | None = setting(None, formerly="objective.relation_share")
    """Instead of that factor: length of the relations' gradient over the other terms' (see `Term.grad_norm_ratio`)."""
    relation_space: Space | None = None
    """Overrides the space of every relation; null keeps each method's own."""
    relation_options: dict[str, Any] = field(default_factory=dict)
    """Options laid over those of every relation that has them, such as `{standardize: true}`."""
    patch_relation_weight: float = 1.0
    """Factor on relations between patches, beside those between images."""
    koleo: float = 0.0
    """Weight of KoLeo on the backbone's class tokens, added to iBOT's class term when no relation is present."""

    def __post_init__(self) -> None:
        for name in ("relation_weight", "patch_relation_weight", "koleo"):
            require(getattr(self, name) >= 0, f"objective.{name} must be 0 or more, got {getattr(self, name)}")
        require(
            self.relation_grad_norm_ratio is None or self.relation_grad_norm_ratio > 0,
            f"objective.relation_grad_norm_ratio must be positive, got {self.relation_grad_norm_ratio}",
        )
