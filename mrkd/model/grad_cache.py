"""GradCache: the loss and gradient of a large batch, with the memory of a micro-batch in the backbone.

Relational losses compare images of the whole batch, so gradient accumulation would change them. But they need only the
backbone's outputs. Each micro-batch goes through the backbone without storing activations; the head and the losses run
on the outputs of all micro-batches together. In the backward pass each micro-batch is computed again, with the same
random state, to get its gradient. Loss and gradient equal those of the whole batch, at the cost of one more forward
pass of the student.

Source:
    Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021
    (arXiv:2101.06983).
"""

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mrkd.model.backbone import BackboneOutput, MaskedBackbone, patch_grid


def forward_in_micro_batches(
    backbone: MaskedBackbone,
    images: Tensor,
    patch_mask: Tensor | None,
    patch_index: Tensor | None,
    micro_batch: int | None,
) -> BackboneOutput:
    """The output of `backbone(images, patch_mask, patch_index)`, computed for at most `micro_batch` images at a time.

    `patch_index` must be in ascending order. With stochastic depth the random draws depend on the micro-batch size.
    """
    if micro_batch is None or len(images) <= micro_batch:
        return backbone(images, patch_mask, patch_index)
    patches = math.prod(patch_grid(backbone.vit, images.shape[-1]))
    outputs: list[BackboneOutput] = []
    for first in range(0, len(images), micro_batch):
        part = images[first : first + micro_batch]
        given = (
            part,
            None if patch_mask is None else patch_mask[first : first + micro_batch],
            None if patch_index is None else _in_range(patch_index, first * patches, (first + len(part)) * patches),
        )
        outputs.append(
            checkpoint(backbone, *given, use_reentrant=False) if torch.is_grad_enabled() else backbone(*given)
        )
    blocks = tuple(torch.cat(parts) for parts in zip(*(output.blocks for output in outputs), strict=True))
    attention = [output.attention for output in outputs if output.attention is not None]
    features = [output.features for output in outputs]
    if patch_index is not None:
        patch_rows = [output.selected_patch_tokens for output in outputs if output.selected_patch_tokens is not None]
        features = [*(output.cls_tokens for output in outputs), *patch_rows]
    return BackboneOutput(torch.cat(features), len(images), blocks, torch.cat(attention) if attention else None)


def _in_range(positions: Tensor, start: int, stop: int) -> Tensor:
    return positions[(positions >= start) & (positions < stop)] - start
