"""Two networks and one step: the student sees masked views and local crops, the EMA teacher sees full views.

Axes: V views, B images, N patches, M patch tokens through the head, D width, E bottleneck, K prototypes.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrkd.config import Config
from mrkd.model.backbone import MaskedBackbone, create_vit, patch_grid
from mrkd.model.head import Head
from mrkd.tokens import HeadNeed, Step, ViewTokens


class NetworkOutput(NamedTuple):
    """Tensors of one forward pass over B images; a tuple, so that wrappers of the module can walk it."""

    tokens: Tensor
    """(B, 1 + N, D)."""
    cls_bottleneck: Tensor | None
    """(B, E)."""
    cls_logits: Tensor | None
    """(B, K)."""
    patch_bottleneck: Tensor | None
    """(M, E)."""
    patch_logits: Tensor | None
    """(M, K)."""


class Network(nn.Module):
    """Backbone and, when a term needs it, head."""

    def __init__(self, config: Config, with_head: bool, drop_path: float) -> None:
        super().__init__()
        self.backbone = MaskedBackbone(create_vit(config.model, config.data.size, drop_path))
        self.head = Head(self.backbone.vit.embed_dim, config.head) if with_head else None

    def forward(self, images: Tensor, patch_mask: Tensor | None, patch_index: Tensor | None) -> NetworkOutput:
        """Tokens of images (B, 3, S, S); the head sees the class tokens and the patches at flat `patch_index` (M,)."""
        tokens = self.backbone(images, patch_mask)
        if self.head is None:
            return NetworkOutput(tokens, None, None, None, None)
        # Two calls: class and patch tokens have different statistics, and BatchNorm must not blend them.
        cls_bottleneck, cls_logits = self.head(tokens[:, 0])
        if patch_index is None or len(patch_index) < 2:
            return NetworkOutput(tokens, cls_bottleneck, cls_logits, None, None)
        chosen = tokens[:, 1:].flatten(0, 1)[patch_index]  # (B, N, D) -> (M, D)
        return NetworkOutput(tokens, cls_bottleneck, cls_logits, *self.head(chosen))


class TeacherStudent:
    """The pair. `student` may be wrapped by the trainer after construction; the teacher is never trained."""

    def __init__(self, config: Config, need: HeadNeed) -> None:
        self.need = need
        self.network = Network(config, need != "none", config.model.drop_path)
        self.student: nn.Module = self.network
        self.teacher = Network(config, need != "none", 0.0).requires_grad_(False)
        self.teacher.load_state_dict(self.network.state_dict())
        # BatchNorm of the head uses the batch's statistics in both networks; nothing else differs in training mode.
        self.teacher.train()
        self.grid = patch_grid(self.network.backbone.vit, config.data.size)
        self._teacher_parameters: list[Tensor] = list(self.teacher.parameters())
        self._student_parameters: list[Tensor] = list(self.network.parameters())

    def __call__(self, views: Tensor, local: Tensor | None, patch_mask: Tensor) -> Step:
        """One forward of both networks.

        Args:
            views: (V, B, 3, S, S) global views.
            local: (V_local, B, 3, s, s) or None.
            patch_mask: (V, B, N) bool, True = masked for the student.
        """
        count, images = views.shape[:2]
        flat = views.flatten(0, 1)
        flat_mask = patch_mask.flatten(0, 1)
        index = self._head_index(flat_mask)
        patch_index = index if self.need in ("masked", "all") else None
        with torch.no_grad():
            teacher = _view_tokens(self.teacher(flat, None, patch_index), count, images)
        student = _view_tokens(self.student(flat, flat_mask, patch_index), count, images)
        student_local = None
        if local is not None:
            output = self.student(local.flatten(0, 1), None, None)
            student_local = _view_tokens(output, local.shape[0], images)
        return Step(
            student=student, teacher=teacher, student_local=student_local, patch_mask=patch_mask, patch_index=index
        )

    def _head_index(self, flat_mask: Tensor) -> Tensor:
        if self.need == "all":
            return torch.arange(flat_mask.numel(), device=flat_mask.device)
        return flat_mask.flatten().nonzero().flatten()

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """teacher = momentum * teacher + (1 - momentum) * student."""
        torch._foreach_lerp_(self._teacher_parameters, self._student_parameters, 1.0 - momentum)
        for target, source in zip(self.teacher.buffers(), self.network.buffers(), strict=True):
            target.copy_(source)


def _view_tokens(output: NetworkOutput, views: int, images: int) -> ViewTokens:
    def split(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.unflatten(0, (views, images))  # (V * B, ...) -> (V, B, ...)

    tokens = output.tokens.unflatten(0, (views, images))
    return ViewTokens(
        cls_backbone=tokens[:, :, 0],
        patch_backbone=tokens[:, :, 1:],
        cls_bottleneck=split(output.cls_bottleneck),
        cls_logits=split(output.cls_logits),
        patch_bottleneck=output.patch_bottleneck,
        patch_logits=output.patch_logits,
    )
