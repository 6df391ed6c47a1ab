"""A backbone on more images than its activations leave memory for, with losses over all of them at once.

Relations are between the images of a batch, so gradients of small batches cannot simply be added up. But the losses see
only the backbone's outputs. Each part of the batch goes through the backbone without keeping activations; the head and
the losses run on the outputs of all parts together, so that BatchNorm and relations are those of the whole batch; in
the backward pass each part is computed again, with the same random state, and takes its gradient back. Loss and
gradient are those of the batch in one piece; it costs one more forward pass of the student.

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
    chosen: Tensor | None,
    at_a_time: int | None,
) -> BackboneOutput:
    """What `backbone(images, patch_mask, chosen)` returns, from at most `at_a_time` of the B images at a time.

    Stochastic depth draws once per part, so with it the parts decide which paths are dropped. The positions in `chosen`
    must rise.
    """
    if at_a_time is None or len(images) <= at_a_time:
        return backbone(images, patch_mask, chosen)
    patches = math.prod(patch_grid(backbone.vit, images.shape[-1]))
    outputs: list[BackboneOutput] = []
    for first in range(0, len(images), at_a_time):
        part = images[first : first + at_a_time]
        given = (
            part,
            None if patch_mask is None else patch_mask[first : first + at_a_time],
            None if chosen is None else _within(chosen, first * patches, (first + len(part)) * patches),
        )
        outputs.append(
            checkpoint(backbone, *given, use_reentrant=False) if torch.is_grad_enabled() else backbone(*given)
        )
    blocks = tuple(torch.cat(parts) for parts in zip(*(output.blocks for output in outputs), strict=True))
    attention = [output.attention for output in outputs if output.attention is not None]
    features = [output.features for output in outputs]
    if chosen is not None:
        patch_rows = [output.selected_patch_tokens for output in outputs if output.selected_patch_tokens is not None]
        features = [*(output.cls_tokens for output in outputs), *patch_rows]
    return BackboneOutput(torch.cat(features), len(images), blocks, torch.cat(attention) if attention else None)


def _within(positions: Tensor, start: int, stop: int) -> Tensor:
    return positions[(positions >= start) & (positions < stop)] - start
