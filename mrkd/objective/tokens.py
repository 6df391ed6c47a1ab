"""The outputs of the networks in one training step, from which the losses are computed.

Axes: V views, B images, N patches, M patch tokens through the head, D backbone width, E bottleneck, K prototypes.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

HeadNeed = Literal["none", "cls", "masked", "all"]
"""The tokens that go through the head: none, class tokens, these and masked patches, or all tokens."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The outputs that the terms of a method need; the networks compute nothing else."""

    head: HeadNeed = "none"
    """The tokens that go through the projection head."""
    patches: bool = False
    """Whether all patch tokens of the backbone's output are needed, not only those that go through the head."""
    blocks: tuple[int, ...] = ()
    """Numbers of the blocks whose outputs are needed, counted from 0."""
    attention: bool = False
    """Whether the class token's attention in the last block is needed."""
    predictor: bool = False
    """Whether a linear predictor from the student's tokens to the teacher's is needed."""
    head_predictor: bool = False
    """Whether an MLP that predicts the teacher's projection from the student's is needed."""
    ema: bool = True
    """Whether a forward pass of the EMA teacher is needed; not where every target comes from a frozen teacher."""
    ema_patches: bool = True
    """Whether `patches` holds for the EMA teacher, too."""
    frozen_patches: bool = False
    """Whether the frozen teacher's patches are needed."""


@dataclass(frozen=True, kw_only=True)
class ViewTokens:
    """The tokens of one network for V views of B images, in each space that a term needs."""

    cls_backbone: Tensor
    """(V, B, D) class token after the last norm."""
    patch_backbone: Tensor | None
    """(V, B, N, D) patch tokens after the last norm; None for local crops, and when no term needs all of them."""
    features: Tensor
    """The backbone's output, (V * B, 1 + N, D), or (V * B + M, D) without `patch_backbone`; M = 0 for local crops.

    All other fields except `blocks` and `attention` are computed from it."""
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
    """(V, B, 1 + N, D) the student's predictor on global views, or (V, B, 1, D) without `patch_backbone`; None when no
    term needs it."""
    cls_prediction: Tensor | None = None
    """(V, B, E) the student's MLP on `cls_projection` of global views; None when no term needs it."""


@dataclass(frozen=True, kw_only=True)
class StepOutputs:
    """The outputs of student and teacher in one step, before any loss."""

    student: ViewTokens
    """The student's outputs for the global views, partly masked."""
    teacher: ViewTokens | None
    """The EMA teacher's outputs for the same views, unmasked; no gradient. None when no term needs it."""
    student_local: ViewTokens | None
    """The student's class tokens of the local crops; None without local crops."""
    patch_mask: Tensor
    """(V, B, N) bool, True where the mask token replaced the patch in the student's view."""
    patch_index: Tensor
    """(M,) int64, flat positions in (V, B, N) of the patch tokens that went through the head."""
    masked_index: Tensor
    """(masked patches,) int64, flat positions in (V, B, N) where `patch_mask` is True, in ascending order."""
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
