"""Student and EMA teacher: the student sees masked views and local crops, the teacher sees full views.

With a frozen teacher, relations and features are matched to its outputs, and the EMA teacher runs only for terms that
need it. If no term needs it, `teacher` is a copy of the student after each step, so the student is measured and saved.

Axes: V views, B images, N patches, M patch tokens through the head, D width, E bottleneck, K prototypes.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mrkd.config import Config
from mrkd.distributed.fsdp import full_state, local_shard, shard
from mrkd.distributed.gather import all_reduce_count
from mrkd.errors import UserError
from mrkd.model.backbone import BackboneOutput, MaskedBackbone, ViT, create_vit, patch_grid
from mrkd.model.drop_path import use_tensor_rates
from mrkd.model.frozen_teacher import FrozenTeacher
from mrkd.model.grad_cache import forward_in_micro_batches
from mrkd.model.head import Head, HeadOutput, head_predictor
from mrkd.objective.tokens import Needs, StepOutputs, ViewTokens


class NetworkOutput(NamedTuple):
    """Outputs of one forward pass over B images; a NamedTuple, so that module wrappers can convert its tensors."""

    backbone: BackboneOutput
    """Tokens, block outputs and attention."""
    cls_head: HeadOutput | None
    """Outputs of the head for the B class tokens."""
    patch_head: HeadOutput | None
    """Outputs of the head for the M selected patch tokens."""
    prediction: Tensor | None
    """(B, 1 + N, D) for a masked view, or (B, 1, D) for class tokens only, if not all patches were requested."""
    cls_prediction: Tensor | None = None
    """(B, E) prediction of the teacher's projection, for a masked view."""


class Network(nn.Module):
    """The backbone and, if a term needs them, head and predictor."""

    def __init__(self, config: Config, needs: Needs, drop_path: float, predicted_width: int | None = None) -> None:
        super().__init__()
        vit = create_vit(config.model, config.data.size, drop_path)
        for number in needs.blocks:
            if number >= len(vit.blocks):
                raise UserError(f"a term asks for block {number}; the network has blocks 0 to {len(vit.blocks) - 1}")
        # FSDP gathers the weights of a block only in the block's own forward, which the token subset does not call.
        self.backbone = MaskedBackbone(
            vit,
            needs.blocks,
            needs.attention,
            config.train.activation_checkpointing,
            full_last_block=config.train.sharded,
        )
        self.micro_batch = config.train.micro_batch
        self.head = Head(vit.embed_dim, config.head) if needs.head != "none" else None
        self.predictor = nn.Linear(vit.embed_dim, predicted_width or vit.embed_dim) if needs.predictor else None
        self.head_predictor = head_predictor(config.head) if needs.head_predictor else None

    def forward(
        self, images: Tensor, patch_mask: Tensor | None, patch_index: Tensor | None, all_patches: bool
    ) -> NetworkOutput:
        """Compute the outputs for images (B, 3, S, S).

        The head runs on class tokens and on the patches at the flat positions `patch_index` (M,). The backbone returns
        all patches if `all_patches`, else only those at `patch_index`.
        """
        backbone_index = patch_index
        if all_patches:
            backbone_index = None
        elif patch_index is None:
            backbone_index = torch.empty(0, dtype=torch.int64, device=images.device)
        backbone = forward_in_micro_batches(self.backbone, images, patch_mask, backbone_index, self.micro_batch)
        prediction = None
        if self.predictor is not None and patch_mask is not None:
            prediction = self.predictor(backbone.features if all_patches else backbone.cls_tokens[:, None])
        if self.head is None:
            return NetworkOutput(backbone, None, None, prediction)
        # Two calls, because BatchNorm must not mix the statistics of class tokens and patches.
        cls_head = self.head(backbone.cls_tokens)
        cls_prediction = None
        if self.head_predictor is not None and patch_mask is not None:
            cls_prediction = self.head_predictor(cls_head.projection)
        if patch_index is None:
            return NetworkOutput(backbone, cls_head, None, prediction, cls_prediction)
        patch_tokens = backbone.selected_patch_tokens
        if backbone.patch_tokens is not None:
            patch_tokens = backbone.patch_tokens.flatten(0, 1)[patch_index]  # (B, N, D) -> (M, D)
        return NetworkOutput(backbone, cls_head, self.head(patch_tokens), prediction, cls_prediction)


class TeacherStudent:
    """Student and teacher. `student` is callable and may be replaced by a wrapper of `network`, for mixed precision."""

    def __init__(self, config: Config, needs: Needs, frozen: FrozenTeacher | None = None) -> None:
        self.needs, self.frozen = needs, frozen
        self.same_view = frozen is not None and config.teacher.views == "same"
        predicted_width = None if frozen is None else frozen.width
        self.network = Network(config, needs, config.model.drop_path, predicted_width)
        self.student: Callable[..., NetworkOutput] = self.network
        self.teacher = Network(config, needs, 0.0, predicted_width).requires_grad_(False)
        self.reset_teacher()
        # In training mode the head's BatchNorm uses batch statistics; nothing else differs, as the drop rate is 0.
        self.teacher.train()
        self.grid = patch_grid(self.network.backbone.vit, config.data.size)
        self.target_width = predicted_width or self.network.backbone.vit.embed_dim
        """Channels of the class token that relations are matched to, after its backbone."""
        self._plain_vit: ViT | None = None

    @property
    def frozen_sha256(self) -> str | None:
        """Of the frozen teacher's weights; None without one."""
        return None if self.frozen is None else self.frozen.trained.sha256

    def reset_teacher(self) -> None:
        """Copy the student to the teacher, for example after loading weights into the student."""
        self.teacher.load_state_dict(self.network.state_dict())

    def use_plain_attention(self) -> None:
        """Compute attention as two matrix products instead of torch's fused kernel, in both networks.

        On the CPU the fused kernel's backward pass in bfloat16 takes 3 to 8 times as long as the plain one.
        """
        for network in (self.network, self.teacher):
            for block in network.backbone.vit.blocks:
                block.attn.fused_attn = False

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile the blocks in place at their first use; names in the state dict do not change.

        Stochastic depth rates become tensors, so that all blocks share one compilation. If the last block runs for a
        subset of the tokens, its attention and its MLP are compiled separately.
        """
        for network in (self.network, self.teacher):
            blocks = network.backbone.vit.blocks
            if any(not isinstance(block.drop_path1, nn.Identity) for block in blocks):
                for block in blocks:
                    use_tensor_rates(block)
            in_halves = network.backbone.skips_unused_tokens and not self.needs.patches
            for block in blocks[:-1] if in_halves else blocks:
                block.compile(backend=backend)
            if in_halves:
                blocks[-1].attn.compile(backend=backend)
                blocks[-1].mlp.compile(backend=backend, dynamic=True)  # the number of masked patches varies

    def shard(self, device_type: str) -> None:
        """Shard both networks over the devices with FSDP.

        Raises:
            UserError: a term asks for attention, which is computed outside of the blocks.
        """
        if self.needs.attention:
            raise UserError(
                "terms on attention do not work with sharded networks: leave out --train.strategy fsdp, or the term"
            )
        self._plain_vit = copy.deepcopy(self.teacher.backbone.vit)
        for network in (self.network, self.teacher):
            shard(network, network.backbone.vit.blocks, device_type)

    def teacher_vit(self) -> ViT:
        """The teacher's backbone with full weights, for evaluation or saving; all processes must call it.

        If the teacher is sharded this is an unsharded copy, because FSDP weights exist only during the forward pass.
        """
        if self._plain_vit is None:
            return self.teacher.backbone.vit
        self._plain_vit.load_state_dict(full_state(self.teacher.backbone.vit.state_dict()))
        return self._plain_vit

    def __call__(
        self, views: Tensor, local: Tensor | None, patch_mask: Tensor, masked_index: Tensor | None = None
    ) -> StepOutputs:
        """Run both networks.

        Args:
            views: (V, B, 3, S, S) global views.
            local: (V_local, B, 3, s, s) or None.
            patch_mask: (V, B, N) bool, True = masked for the student.
            masked_index: the flat positions of its True entries, in ascending order, if already known; finding them on
                a GPU would make the host wait.
        """
        count, images = views.shape[:2]
        flat = views.flatten(0, 1)
        flat_mask = patch_mask.flatten(0, 1)
        if masked_index is None:
            masked_index = patch_mask.flatten().nonzero().flatten()
        index = masked_index
        if self.needs.head == "all":
            index = torch.arange(patch_mask.numel(), device=patch_mask.device)
        # BatchNorm needs two rows over all devices; all devices must decide alike.
        enough = all_reduce_count(len(index), index.device) >= 2
        patch_index = index if enough and self.needs.head in ("masked", "all") else None
        teacher = None
        if self.needs.ema:
            all_patches = self.needs.patches and self.needs.ema_patches
            with torch.no_grad():
                teacher = self._view_tokens(self.teacher(flat, None, patch_index, all_patches), count, images)
        frozen = None if self.frozen is None else self.frozen(views)
        student = self._view_tokens(self.student(flat, flat_mask, patch_index, self.needs.patches), count, images)
        student_local = None
        if local is not None:
            output = self.student(local.flatten(0, 1), None, None, False)
            student_local = self._view_tokens(output, local.shape[0], images)
        return StepOutputs(
            student=student,
            teacher=teacher,
            student_local=student_local,
            patch_mask=patch_mask,
            patch_index=index,
            masked_index=masked_index,
            frozen=frozen,
            same_view=self.same_view,
        )

    def drop_prototype_gradients(self) -> None:
        """Leave the student's prototypes as they are in this step; nothing to do without a head."""
        if self.network.head is not None:
            self.network.head.prototypes.grad = None

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """teacher = momentum * teacher + (1 - momentum) * student; the student where no term needs an average."""
        momentum = momentum if self.needs.ema else 0.0
        teacher, student = ([local_shard(p) for p in net.parameters()] for net in (self.teacher, self.network))
        torch._foreach_lerp_(teacher, student, 1.0 - momentum)
        buffers = dict(self.network.named_buffers())
        for name, target in self.teacher.named_buffers():
            target.copy_(buffers[name])

    def _view_tokens(self, output: NetworkOutput, views: int, images: int) -> ViewTokens:
        def split(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.unflatten(0, (views, images))  # (V * B, ...) -> (V, B, ...)

        cls_head, patch_head = output.cls_head, output.patch_head
        return ViewTokens(
            features=output.backbone.features,
            cls_backbone=output.backbone.cls_tokens.unflatten(0, (views, images)),
            patch_backbone=split(output.backbone.patch_tokens),
            cls_projection=split(cls_head and cls_head.projection),
            cls_bottleneck=split(cls_head and cls_head.bottleneck),
            cls_logits=split(cls_head and cls_head.logits),
            patch_projection=patch_head and patch_head.projection,
            patch_bottleneck=patch_head and patch_head.bottleneck,
            patch_logits=patch_head and patch_head.logits,
            blocks={
                number: block.unflatten(0, (views, images))
                for number, block in zip(self.needs.blocks, output.backbone.blocks, strict=True)
            },
            attention=split(output.backbone.attention),
            prediction=split(output.prediction),
            cls_prediction=split(output.cls_prediction),
        )
