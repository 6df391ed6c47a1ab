"""Run the last block for a subset of its tokens; pad rows to a multiple of 32, so that oneDNN reuses its kernels.

Axes: B images, T tokens of an image, R rows (tokens of a batch), D width.
"""

import torch
import torch.nn.functional as F
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

ROW_MULTIPLE = 32
"""On a CPU, rows of a matrix product are padded to a multiple of this."""


def pad_rows(rows: Tensor) -> Tensor:
    """Rows (R, D), on a CPU padded with zeros to a multiple of `ROW_MULTIPLE`.

    The number of masked patches differs from step to step, and oneDNN creates and caches a kernel for every new number,
    which costs time and memory (`benchmarks/even_rows.py`).
    """
    missing = -len(rows) % ROW_MULTIPLE
    return rows if missing == 0 or rows.device.type != "cpu" else F.pad(rows, (0, 0, 0, missing))


def padded_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` of rows (R, D), computed with `pad_rows`."""
    return F.linear(pad_rows(rows), weight, bias)[: len(rows)]


def supports_token_subset(block: nn.Module) -> bool:
    """Whether `run_block_on_subset` supports this class of block."""
    return type(block) in (Block, EvaBlock)


def run_block_on_subset(block: nn.Module, tokens: Tensor, rotation: Tensor | None, token_index: Tensor) -> Tensor:
    """The output of a block for some of its tokens, (R, D).

    Attention runs on all tokens. After it, a block treats every token by itself, so the MLP, two thirds of the
    arithmetic, runs only for the requested ones. Stochastic depth makes the same random draws as the full block.

    Args:
        block: a block for which `supports_token_subset` is True.
        tokens: (B, T, D) input of the block.
        rotation: as in `run_block`.
        token_index: (R,) int64, flat positions in (B, T) of the requested tokens.
    """
    normed = block.norm1(tokens)  # type: ignore[operator]
    attended = block.attn(normed) if rotation is None else block.attn(normed, rope=rotation)  # type: ignore[operator]
    image = token_index // tokens.shape[1]

    def branch_output(branch: Tensor, number: int) -> Tensor:
        """A residual branch (R, D), with the block's layer scale and stochastic depth."""
        drop_path = getattr(block, f"drop_path{number}")
        if isinstance(block, EvaBlock):
            scale = getattr(block, f"gamma_{number}")
            branch = branch if scale is None else scale * branch
        else:
            branch = getattr(block, f"ls{number}")(branch)
        if isinstance(drop_path, nn.Identity):
            return branch
        return branch * drop_path(branch.new_ones(len(tokens), 1, 1)).view(-1, 1)[image]

    rows = tokens.flatten(0, 1).index_select(0, token_index) + branch_output(
        attended.flatten(0, 1).index_select(0, token_index), 1
    )
    through_mlp = block.mlp(block.norm2(pad_rows(rows)))[: len(rows)]  # type: ignore[operator]
    return rows + branch_output(through_mlp, 2)


def flat_token_indices(images: int, patches: int, prefix_tokens: int, patch_index: Tensor) -> Tensor:
    """Flat positions, among the tokens of all images, of all class tokens and then the selected patches.

    Args:
        images: number of images, B.
        patches: number of patches of an image.
        prefix_tokens: number of tokens before the patches of an image; the class token is the first.
        patch_index: (M,) int64, flat positions among the patches of all images.
    Returns:
        (B + M,) int64.
    """
    tokens = prefix_tokens + patches
    classes = torch.arange(images, device=patch_index.device) * tokens
    return torch.cat([classes, patch_index // patches * tokens + prefix_tokens + patch_index % patches])
