"""What one training step hands from the networks to the losses.

Axes: V views, B images, N patches, M patch tokens through the head, D backbone width, E bottleneck, K prototypes.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

HeadNeed = Literal["none", "cls", "masked", "all"]
"""What the terms need from the head: nothing, class tokens, also masked patches, or also every patch."""


@dataclass(frozen=True, kw_only=True)
class ViewTokens:
    """One network's tokens for V views of B images, in every space that was asked for."""

    cls_backbone: Tensor
    """(V, B, D) class token after the last norm."""
    patch_backbone: Tensor
    """(V, B, N, D) patch tokens after the last norm."""
    cls_bottleneck: Tensor | None = None
    """(V, B, E) head output before the prototypes, not normalised; None without a head."""
    cls_logits: Tensor | None = None
    """(V, B, K) cosines with the prototypes; None without a head."""
    patch_bottleneck: Tensor | None = None
    """(M, E) the same for the patch tokens listed in `Step.patch_index`; None when no term needs them."""
    patch_logits: Tensor | None = None
    """(M, K) the same, cosines with the prototypes."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Student and teacher outputs of one step, before any loss."""

    student: ViewTokens
    """The global views, partly masked."""
    teacher: ViewTokens
    """The same global views, unmasked; carries no gradient."""
    student_local: ViewTokens | None
    """The student's local crops (class token only is meaningful); None without local crops."""
    patch_mask: Tensor
    """(V, B, N) bool, True where the student saw the mask token."""
    patch_index: Tensor
    """(M,) int64, flat positions in (V, B, N) of the patch tokens that went through the head."""
