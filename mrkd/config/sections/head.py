"""Section `head`: the projection head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import require


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The projection head, shared by class and patch tokens."""

    prototypes: int = 1024
    """Number of prototypes K."""
    hidden: int = 2048
    """Width of the hidden layers."""
    bottleneck: int = 256
    """Width of the bottleneck before the prototypes."""
    layers: int = 3
    """Number of linear layers up to the bottleneck."""
    norm: Literal["batch", "none"] = "batch"
    """`batch` puts BatchNorm after each hidden layer, without which iBOT's losses learn much less in short
    trainings; `none` is iBOT's head."""

    def __post_init__(self) -> None:
        for name in ("prototypes", "hidden", "bottleneck", "layers"):
            require(getattr(self, name) >= 1, f"head.{name} must be at least 1, got {getattr(self, name)}")
