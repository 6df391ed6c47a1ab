"""The last block for a subset of its tokens, and rows padded to a multiple of 32, which oneDNN reuses.

Axes: B images, T tokens of an image, R rows (tokens of a batch), D width.
"""

import torch
import torch.nn.functional as F
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

ROW_MULTIPLE = 32
"""Matrix products get a multiple of this many rows on a CPU."""


def pad_rows(rows: Tensor) -> Tensor:
    """Rows (R, D), filled up with zeros to a multiple of `ROW_MULTIPLE` on a CPU.

    The number of masked patches differs from step to step, and oneDNN prepares and keeps a kernel for every number it
    meets, which costs time and memory (`benchmarks/even_rows.py`).
    """
    missing = -len(rows) % ROW_MULTIPLE
    return rows if missing == 0 or rows.device.type != "cpu" else F.pad(rows, (0, 0, 0, missing))


def padded_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` of rows (R, D), computed on rows padded by `pad_rows`."""
    return F.linear(pad_rows(rows), weight, bias)[: len(rows)]


def supports_token_subset(block: nn.Module) -> bool:
    """Whether `run_block_on_subset` knows this block's parts."""
    return type(block) in (Block, EvaBlock)


def run_block_on_subset(block: nn.Module, tokens: Tensor, rotation: Tensor | None, places: Tensor) -> Tensor:
    """A block's output for some of its tokens, (R, D): only its attention sees the others.

    Behind attention, a block treats every token by itself, so its MLP, two thirds of its arithmetic, is run for those
    that are asked for. Stochastic depth draws what the whole block would draw.

    Args:
        block: one that `supports_token_subset`.
        tokens: (B, T, D), its input.
        rotation: as `run_block` takes it.
        places: (R,) int64, which of the B * T tokens.
    """
    normed = block.norm1(tokens)  # type: ignore[operator]
    attended = block.attn(normed) if rotation is None else block.attn(normed, rope=rotation)  # type: ignore[operator]
    image = places // tokens.shape[1]

    def added(branch: Tensor, number: int) -> Tensor:
        """What a branch adds, scaled and dropped as the block itself does it."""
        drop_path = getattr(block, f"drop_path{number}")
        if isinstance(block, EvaBlock):
            scale = getattr(block, f"gamma_{number}")
            branch = branch if scale is None else scale * branch
        else:
            branch = getattr(block, f"ls{number}")(branch)
        if isinstance(drop_path, nn.Identity):
            return branch
        return branch * drop_path(branch.new_ones(len(tokens), 1, 1)).view(-1, 1)[image]

    rows = tokens.flatten(0, 1).index_select(0, places) + added(attended.flatten(0, 1).index_select(0, places), 1)
    through_mlp = block.mlp(block.norm2(pad_rows(rows)))[: len(rows)]  # type: ignore[operator]
    return rows + added(through_mlp, 2)


def flat_token_indices(images: int, patches: int, prefix_tokens: int, patch_index: Tensor) -> Tensor:
    """Where all class tokens, then the chosen patches, stand among the tokens of all images.

    Args:
        images: B.
        patches: of an image.
        prefix_tokens: of an image, the class token first, before its patches.
        patch_index: (M,) int64, flat positions among the patches of all images.
    Returns:
        (B + M,) int64.
    """
    tokens = prefix_tokens + patches
    classes = torch.arange(images, device=patch_index.device) * tokens
    return torch.cat([classes, patch_index // patches * tokens + prefix_tokens + patch_index % patches])
