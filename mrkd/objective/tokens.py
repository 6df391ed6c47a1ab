"""What one training step hands from the networks to the losses.

Axes: V views, B images, N patches, M patch tokens through the head, D backbone width, E bottleneck, K prototypes.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

HeadNeed = Literal["none", "cls", "masked", "all"]
"""What the terms need from the head: nothing, class tokens, also masked patches, or also every patch."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the terms of a method ask of the networks, so that nothing else is computed."""

    head: HeadNeed = "none"
    """How much of the projection head."""
    patches: bool = False
    """Every patch token of the backbone's output, and not only those that go through the head."""
    blocks: tuple[int, ...] = ()
    """Blocks whose outputs are kept, counted from 0."""
    attention: bool = False
    """The class token's attention in the last block."""
    predictor: bool = False
    """A linear map from the student's tokens to the teacher's."""
    ema: bool = True
    """A forward pass of the EMA teacher; not where every target comes from a frozen teacher."""
    ema_patches: bool = True
    """Whether `patches` holds for the EMA teacher, too."""
    frozen_patches: bool = False
    """The frozen teacher's patches."""


@dataclass(frozen=True, kw_only=True)
class ViewTokens:
    """One network's tokens for V views of B images, in every space that was asked for."""

    cls_backbone: Tensor
    """(V, B, D) class token after the last norm."""
    patch_backbone: Tensor | None
    """(V, B, N, D) patch tokens after the last norm; None when no term needs all of them, and of local crops."""
    features: Tensor
    """The backbone's output, from which every other field but `blocks` and `attention` is made: (V * B, 1 + N, D), or
    (V * B + M, D) where `patch_backbone` is None, M being 0 for local crops."""
    cls_projection: Tensor | None = None
    """(V, B, E) the head's last linear layer, before its normalisation; None without a head."""
    cls_bottleneck: Tensor | None = None
    """(V, B, E) head output before the prototypes, not of unit length; None without a head."""
    cls_logits: Tensor | None = None
    """(V, B, K) cosines with the prototypes; None without a head."""
    patch_projection: Tensor | None = None
    """(M, E) as `cls_projection`, for the tokens listed in `StepOutputs.patch_index`; None when no term needs them."""
    patch_bottleneck: Tensor | None = None
    """(M, E) the same for the patch tokens listed in `StepOutputs.patch_index`; None when no term needs them."""
    patch_logits: Tensor | None = None
    """(M, K) the same, cosines with the prototypes."""
    blocks: dict[int, Tensor] = field(default_factory=dict)
    """Block number to its output (V, B, 1 + N, D), for the blocks in `Needs.blocks`."""
    attention: Tensor | None = None
    """(V, B, H, N) attention of the class token over the patches in the last block; None when no term needs it."""
    prediction: Tensor | None = None
    """(V, B, 1 + N, D) the student's predictor of the global views, (V, B, 1, D) where `patch_backbone` is None; None
    when no term needs it."""


@dataclass(frozen=True, kw_only=True)
class StepOutputs:
    """Student and teacher outputs of one step, before any loss."""

    student: ViewTokens
    """The global views, partly masked."""
    teacher: ViewTokens | None
    """The same global views, unmasked, through the average of the student; carries no gradient. None when no term needs
    it."""
    student_local: ViewTokens | None
    """The student's local crops, class tokens alone; None without local crops."""
    patch_mask: Tensor
    """(V, B, N) bool, True where the student saw the mask token."""
    patch_index: Tensor
    """(M,) int64, flat positions in (V, B, N) of the patch tokens that went through the head."""
    masked_index: Tensor
    """(masked patches,) int64, flat positions in (V, B, N) where `patch_mask` is True, in rising order."""
    frozen: ViewTokens | None = None
    """The same global views through a frozen teacher, its patches on the student's grid; None without one."""
    same_view: bool = False
    """Whether class tokens are matched to the target's of the same view, and not of each other one."""

    @property
    def target(self) -> ViewTokens:
        """What relations and features are matched to: the frozen teacher's tokens, or else the EMA teacher's."""
        target = self.teacher if self.frozen is None else self.frozen
        assert target is not None, "neither a frozen nor the EMA teacher ran"
        return target
