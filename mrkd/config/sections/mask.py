"""Section `mask`: which patches of the student's views are masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_fraction, require


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Which patches of the student's views are masked."""

    kind: Literal["random", "block", "blocks"] = "random"
    """Mask independent patches, one rectangle of neighbouring patches (`block`), or several as iBOT draws them
    (`blocks`); `blocks` masks at most the drawn fraction, the others exactly that fraction."""
    ratio: tuple[float, float] = (0.2, 0.5)
    """Range from which the fraction of masked patches is drawn for each image."""
    probability: float = 0.5
    """Probability that a view is masked."""
    even: bool = False
    """Spread the ratios evenly between the two, and mask exactly the fraction `probability` of the views: every step
    then masks the same number of patches, and on one device the tensors behind the views keep their shapes."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        require(0 <= low <= high < 1, f"mask.ratio must satisfy 0 <= low <= high < 1, got ({low}, {high})")
        check_fraction("mask.probability", self.probability)
        require(
            not (self.even and self.kind == "blocks"),
            "mask.even needs mask.kind random or block: the number of patches in several blocks varies",
        )
