"""Section `attention`: the attention figure."""

from __future__ import annotations

from dataclasses import dataclass

from mrkd.config.checks import require


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Settings of the attention figure."""

    images: int = 6
    """Number of images in the figure."""
    scale: int = 3
    """Factor by which images are enlarged before they enter the network, for finer maps."""
    mass: float = 0.6
    """The mask keeps the fewest patches that hold this fraction of the attention."""

    def __post_init__(self) -> None:
        require(self.images >= 1 and self.scale >= 1, "attention.images and attention.scale must be at least 1")
        require(0 < self.mass <= 1, f"attention.mass must be in (0, 1], got {self.mass}")
