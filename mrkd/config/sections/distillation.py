"""Section `distillation`: targets of iBOT's cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_fraction, check_least, require


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How targets for iBOT's cross-entropy are computed from the teacher's logits."""

    student_temperature: float = 0.1
    """Temperature of the student; divides its cosines with the prototypes."""
    teacher_temperature: float = 0.07
    """Temperature of the teacher after the warm-up."""
    teacher_temperature_start: float = 0.04
    """Temperature of the teacher at the first step."""
    teacher_temperature_warmup: float = 0.3
    """Length of the temperature's warm-up, as a fraction of the run."""
    centering: Literal["sinkhorn", "ema", "ibot"] = "sinkhorn"
    """Balance targets by Sinkhorn-Knopp on each batch, or by DINO's moving centre. The patches' centre is the mean of
    the masked patches (`ema`), or of all patches (`ibot`, as iBOT has it; the head then runs on all patches)."""
    sinkhorn_iterations: int = 3
    """Number of normalisations of rows and columns in Sinkhorn-Knopp."""
    center_momentum: float = 0.9
    """Momentum of the moving centre."""

    def __post_init__(self) -> None:
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            require(getattr(self, name) > 0, f"distillation.{name} must be positive, got {getattr(self, name)}")
        for name in ("teacher_temperature_warmup", "center_momentum"):
            check_fraction(f"distillation.{name}", getattr(self, name))
        check_least(1, "distillation", self, "sinkhorn_iterations")
