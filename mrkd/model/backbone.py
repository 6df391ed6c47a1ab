"""The backbone: a plain timm ViT with a mask token between patch embedding and blocks.

Axes: B images, S pixels, N patches, M selected patches, D width, H heads.
"""

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import timm
import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope, PatchEmbed, apply_rot_embed_cat
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrkd.config import ModelConfig
from mrkd.errors import UserError
from mrkd.model.token_subset import flat_token_indices, run_block_on_subset, supports_token_subset

ViT: TypeAlias = VisionTransformer | Eva
"""timm's classes for the plain ViT, and for ViTs with rotary position embeddings (EVA-02, DINOv3, PE, RoPE-ViT)."""


def _timm_name(name: str) -> tuple[str, dict[str, Any]]:
    """The timm name for a model name, and keyword arguments to change the timm model."""
    names = [known for known in timm.list_models(["*vit*", "eva*"]) if "." not in known]
    if name in names:
        return name, {}
    # People write 'vit_small_patch8'; timm's names end in a resolution.
    sized = [known for known in (f"{name}_224", f"{name}_256") if known in names]
    if sized:
        return sized[0], {}
    # timm has no vit_tiny_patch8 or vit_small_patch4, but its models can be created with any patch size.
    if plain := re.fullmatch(r"(vit_(?:tiny|small|base|large))_patch([1-9]\d*)", name):
        return f"{plain[1]}_patch16_224", {"patch_size": int(plain[2])}
    close = difflib.get_close_matches(name, names, n=3)
    raise UserError(f"unknown timm ViT {name!r}: try {', '.join(close) or 'vit_small_patch8'}, or set model.width")


def timm_arguments(config: ModelConfig, size: int) -> tuple[str, dict[str, Any]]:
    """Name and keyword arguments with which `timm.create_model` creates this ViT, without a classifier.

    Raises:
        UserError: timm has no such ViT.
    """
    if config.name is None:
        sizes = {"embed_dim": config.width, "depth": config.depth, "num_heads": config.heads}
        name, own = "vit_tiny_patch16_224", {"patch_size": config.patch, **sizes}
    else:
        name, own = _timm_name(config.name)
    # Dynamic sizes are needed for local crops, and for enlarged images in attention maps.
    return name, {
        "img_size": size,
        **own,
        "num_classes": 0,
        "global_pool": "token",
        "class_token": True,
        "dynamic_img_size": True,
    }


def create_vit(config: ModelConfig, size: int, drop_path: float = 0.0) -> ViT:
    """Create a timm ViT without a classifier, for images of `size` pixels.

    It also takes any other multiple of the patch size, by interpolating the position embeddings.

    Raises:
        UserError: timm has no such ViT, or `size` is not a multiple of the patch size.
    """
    if config.name is None:
        _check_patches(size, config.patch)
    name, arguments = timm_arguments(config, size)
    try:
        model = timm.create_model(name, pretrained=False, drop_path_rate=drop_path, **arguments)
    except TypeError:  # models other than ViTs do not accept these arguments
        raise _unsupported(name) from None
    if not is_supported_vit(model):
        raise _unsupported(name)
    _check_patches(size, model.patch_embed.patch_size[0])
    return model


def is_supported_vit(model: nn.Module) -> TypeGuard[ViT]:
    """Whether masking and attention maps work for this model: square patches and standard pre-norm blocks."""
    if type(getattr(model, "patch_embed", None)) is not PatchEmbed:
        return False
    if isinstance(model, Eva):
        # Random position embeddings during training would differ between student and teacher.
        drawn = getattr(model.rope, "aug_active", False)
        return not drawn and all(type(block) is EvaBlock and _is_multi_head(block.attn) for block in model.blocks)
    return isinstance(model, VisionTransformer) and all(
        type(getattr(block, "attn", None)) is Attention for block in model.blocks
    )


def _is_multi_head(attention: nn.Module) -> bool:
    """Whether each query head has its own key head."""
    return type(attention) in (EvaAttention, AttentionRope) and getattr(attention, "num_kv_groups", 1) == 1


def _unsupported(name: str) -> UserError:
    return UserError(
        "model.name must be a ViT with square patches and pre-norm blocks of ordinary attention, and timm's "
        f"{name} is not; use one such as vit_small_patch16_224 or vit_small_patch16_dinov3"
    )


def _check_patches(size: int, patch: int) -> None:
    if size % patch:
        raise UserError(f"data.size must be a multiple of the patch size {patch}, got {size}")


def patch_grid(vit: ViT, size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of `size` pixels."""
    height, width = vit.patch_embed.patch_size
    return size // height, size // width


def block_inputs(vit: ViT, embedded: Tensor) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Add position embeddings and prefix tokens to patch embeddings, ready for the first block.

    Args:
        vit: the network.
        embedded: (B, R, C, D) patch embeddings of R x C patches.
    Returns:
        (B, prefix + N, D) input of the first block; for each block the sines and cosines that rotate queries and keys:
        (N, 2 D / H), or (H, N, 2 D / H) if learnt for each head, or None without rotary position embeddings.
    """
    if isinstance(vit, VisionTransformer):
        return vit.norm_pre(vit._pos_embed(embedded)), (None,) * len(vit.blocks)
    tokens, rotation = vit._pos_embed(embedded)
    # Each block has its own learnt frequencies.
    rotations = tuple(rotation) if rotation is not None and vit.rope_mixed else (rotation,) * len(vit.blocks)
    return vit.norm_pre(tokens), rotations


def run_block(block: nn.Module, tokens: Tensor, rotation: Tensor | None) -> Tensor:
    """The output of a block, (B, prefix + N, D) like its input; `rotation` as from `block_inputs`."""
    return block(tokens) if rotation is None else block(tokens, rope=rotation)


def class_attention(block: nn.Module, tokens: Tensor, rotation: Tensor | None, prefix_tokens: int) -> Tensor:
    """Attention of the class token over the patches, (B, H, N), recomputed because fused attention does not return it.

    Args:
        block: a block of a timm ViT.
        tokens: (B, prefix + N, D), the block's input.
        rotation: the block's rotation from `block_inputs`.
        prefix_tokens: number of class and register tokens before the patches.
    """
    return _attention(block, tokens, rotation, slice(0, 1), prefix_tokens)[:, :, 0]


def patch_attention(block: nn.Module, tokens: Tensor, rotation: Tensor | None, prefix_tokens: int) -> Tensor:
    """Attention of each patch over the patches, (B, H, N, N); rows sum to 1. Arguments as in `class_attention`."""
    return _attention(block, tokens, rotation, slice(prefix_tokens, None), prefix_tokens)


def _attention(block: nn.Module, tokens: Tensor, rotation: Tensor | None, queries: slice, prefix_tokens: int) -> Tensor:
    attention: Any = block.attn
    query, key = _queries_and_keys(attention, block.norm1(tokens))  # type: ignore[operator]
    query, key = attention.q_norm(query), attention.k_norm(key)  # (B, H, prefix + N, D / H)
    if rotation is not None:
        half = attention.rotate_half
        query, key = (
            torch.cat([part[:, :, :prefix_tokens], apply_rot_embed_cat(part[:, :, prefix_tokens:], rotation, half)], 2)
            for part in (query, key)
        )
    scores = query[:, :, queries] * attention.scale @ key.transpose(-2, -1)
    weights = scores.softmax(dim=-1)[..., prefix_tokens:]
    return weights / weights.sum(dim=-1, keepdim=True)


def _queries_and_keys(attention: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys, (B, H, prefix + N, D / H) each, before their norms."""
    if attention.qkv is None:
        query, key = attention.q_proj(inputs), attention.k_proj(inputs)
    elif getattr(attention, "q_bias", None) is not None:  # EVA-02: the keys have no bias
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        query, key, _ = F.linear(inputs, attention.qkv.weight, bias).chunk(3, dim=-1)
    else:
        query, key, _ = attention.qkv(inputs).chunk(3, dim=-1)
    query, key = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (query, key))
    return query, key


class BackboneOutput(NamedTuple):
    """Outputs of one forward pass over B images; tokens are after the last norm, without registers."""

    features: Tensor
    """(B, 1 + N, D): class token, then patches. With selected patches (B + M, D): class tokens, then patches."""
    images: int
    """B."""
    blocks: tuple[Tensor, ...]
    """(B, 1 + N, D) after each requested block."""
    attention: Tensor | None
    """(B, H, N) of the last block, if requested."""

    @property
    def cls_tokens(self) -> Tensor:
        """(B, D)."""
        return self.features[:, 0] if self.features.dim() == 3 else self.features[: self.images]

    @property
    def patch_tokens(self) -> Tensor | None:
        """(B, N, D); None if patches were selected."""
        return self.features[:, 1:] if self.features.dim() == 3 else None

    @property
    def selected_patch_tokens(self) -> Tensor | None:
        """(M, D); None if no patches were selected."""
        return self.features[self.images :] if self.features.dim() == 2 else None


class MaskedBackbone(nn.Module):
    """The ViT with a learnt mask token, which is not exported.

    Args:
        vit: the network.
        keep_blocks: numbers of the blocks whose outputs are returned.
        keep_attention: whether to return the class token's attention in the last block.
        activation_checkpointing: store only the inputs of blocks for the backward pass, and recompute the rest.
        full_last_block: run the last block for all tokens even if only some are requested.
    """

    def __init__(
        self,
        vit: ViT,
        keep_blocks: tuple[int, ...] = (),
        keep_attention: bool = False,
        activation_checkpointing: bool = False,
        full_last_block: bool = False,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.vit = vit
        self.keep_blocks = keep_blocks
        self.keep_attention = keep_attention
        self.mask_token = nn.Parameter(torch.zeros(vit.embed_dim))
        last = len(vit.blocks) - 1
        self.skips_unused_tokens = (
            supports_token_subset(vit.blocks[last]) and last not in keep_blocks and not full_last_block
        )

    def forward(
        self, images: Tensor, patch_mask: Tensor | None = None, patch_index: Tensor | None = None
    ) -> BackboneOutput:
        """Compute tokens and, if requested at construction, block outputs and attention.

        Args:
            images: (B, 3, S, S), normalised.
            patch_mask: (B, N) bool, True where the mask token replaces the patch; None masks nothing.
            patch_index: (M,) int64, flat positions in (B, N) of the patches to return besides the class tokens; the MLP
                of the last block and the last norm skip all others. None returns all patches.
        """
        vit = self.vit
        embedded = vit.patch_embed(images)  # (B, R, C, D)
        if patch_mask is not None:
            hidden = patch_mask.view(*embedded.shape[:-1], 1)
            embedded = torch.where(hidden, self.mask_token.to(embedded.dtype), embedded)
        tokens, rotations = block_inputs(vit, embedded)
        kept: dict[int, Tensor] = {}
        attention, token_index = None, None
        if patch_index is not None:
            token_index = flat_token_indices(
                len(images), embedded[0, ..., 0].numel(), vit.num_prefix_tokens, patch_index
            )
        for number, (block, rotation) in enumerate(zip(vit.blocks, rotations, strict=True)):
            last = number == len(vit.blocks) - 1
            if self.keep_attention and last:
                attention = class_attention(block, tokens, rotation, vit.num_prefix_tokens)
            if last and self.skips_unused_tokens and token_index is not None:
                tokens = self._run(run_block_on_subset, block, tokens, rotation, token_index)
            else:
                tokens = self._run(run_block, block, tokens, rotation)
            if number in self.keep_blocks:
                kept[number] = self._without_registers(tokens)
        blocks = tuple(kept[number] for number in self.keep_blocks)
        if token_index is None:
            return BackboneOutput(self._without_registers(vit.norm(tokens)), len(images), blocks, attention)
        rows = tokens if self.skips_unused_tokens else tokens.flatten(0, 1).index_select(0, token_index)
        return BackboneOutput(vit.norm(rows), len(images), blocks, attention)

    def _run(self, run: Callable[..., Tensor], *given: Any) -> Tensor:
        # `checkpoint` restores the random state, so recomputing drops the same paths in stochastic depth.
        return checkpoint(run, *given, use_reentrant=False) if self.activation_checkpointing else run(*given)

    def _without_registers(self, tokens: Tensor) -> Tensor:
        prefix = self.vit.num_prefix_tokens
        return tokens if prefix == 1 else torch.cat([tokens[:, :1], tokens[:, prefix:]], dim=1)
