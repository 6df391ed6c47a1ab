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

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mrkd.model.backbone import BackboneOutput, MaskedBackbone


def in_parts(
    backbone: MaskedBackbone, images: Tensor, patch_mask: Tensor | None, at_a_time: int | None
) -> BackboneOutput:
    """What `backbone(images, patch_mask)` returns, from at most `at_a_time` of the B images at a time.

    Stochastic depth draws once per part, so with it the parts decide which paths are dropped.
    """
    if at_a_time is None or len(images) <= at_a_time:
        return backbone(images, patch_mask)
    masks = [None] * len(images) if patch_mask is None else patch_mask.split(at_a_time)
    outputs: list[BackboneOutput] = [
        checkpoint(backbone, part, mask, use_reentrant=False) if torch.is_grad_enabled() else backbone(part, mask)
        for part, mask in zip(images.split(at_a_time), masks, strict=False)
    ]
    attention = [output.attention for output in outputs if output.attention is not None]
    return BackboneOutput(
        torch.cat([output.tokens for output in outputs]),
        tuple(torch.cat(blocks) for blocks in zip(*(output.blocks for output in outputs), strict=True)),
        torch.cat(attention) if attention else None,
    )
