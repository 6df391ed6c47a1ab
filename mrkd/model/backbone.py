"""A plain timm ViT with a mask token put in between its patch embedding and its blocks.

Axes: B images, S pixels, N patches, M chosen patches, D width.
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
"""timm's plain ViT, and the one with rotary position embeddings (EVA-02, DINOv3, Perception Encoder, RoPE-ViT)."""


def _timm_name(name: str) -> tuple[str, dict[str, Any]]:
    """timm's name of a ViT, and what sets it apart from that one."""
    names = [known for known in timm.list_models(["*vit*", "eva*"]) if "." not in known]
    if name in names:
        return name, {}
    # 'vit_small_patch8' is how people call it; timm's names end in the resolution they were made for.
    sized = [known for known in (f"{name}_224", f"{name}_256") if known in names]
    if sized:
        return sized[0], {}
    # timm has no vit_tiny_patch8 and no vit_small_patch4, but each of its sizes takes any patch.
    if plain := re.fullmatch(r"(vit_(?:tiny|small|base|large))_patch([1-9]\d*)", name):
        return f"{plain[1]}_patch16_224", {"patch_size": int(plain[2])}
    close = difflib.get_close_matches(name, names, n=3)
    raise UserError(f"unknown timm ViT {name!r}: try {', '.join(close) or 'vit_small_patch8'}, or set model.width")


def timm_arguments(config: ModelConfig, size: int) -> tuple[str, dict[str, Any]]:
    """What `timm.create_model` is given to make this ViT without a classifier: its name and keyword arguments.

    Raises:
        UserError: no such timm ViT.
    """
    if config.name is None:
        sizes = {"embed_dim": config.width, "depth": config.depth, "num_heads": config.heads}
        name, own = "vit_tiny_patch16_224", {"patch_size": config.patch, **sizes}
    else:
        name, own = _timm_name(config.name)
    # Dynamic sizes serve local crops and enlarged images for attention maps.
    return name, {
        "img_size": size,
        **own,
        "num_classes": 0,
        "global_pool": "token",
        "class_token": True,
        "dynamic_img_size": True,
    }


def create_vit(config: ModelConfig, size: int, drop_path: float = 0.0) -> ViT:
    """A timm ViT without a classifier, for images of `size` pixels or, by interpolation, any multiple of the patch.

    Raises:
        UserError: no such timm ViT, or the image is not a whole number of patches.
    """
    if config.name is None:
        _check_patches(size, config.patch)
    name, arguments = timm_arguments(config, size)
    try:
        model = timm.create_model(name, pretrained=False, drop_path_rate=drop_path, **arguments)
    except TypeError:  # networks of other kinds do not know these arguments
        raise _not_plain(name) from None
    if not is_plain_vit(model):
        raise _not_plain(name)
    _check_patches(size, model.patch_embed.patch_size[0])
    return model


def is_plain_vit(model: nn.Module) -> TypeGuard[ViT]:
    """Whether masks and attention maps mean what they say: square patches, then blocks that attend to their norm."""
    if type(getattr(model, "patch_embed", None)) is not PatchEmbed:
        return False
    if isinstance(model, Eva):
        # Positions that are drawn anew in training would differ between student and teacher.
        drawn = getattr(model.rope, "aug_active", False)
        return not drawn and all(type(block) is EvaBlock and _is_plain_rotary(block.attn) for block in model.blocks)
    return isinstance(model, VisionTransformer) and all(
        type(getattr(block, "attn", None)) is Attention for block in model.blocks
    )


def _is_plain_rotary(attention: nn.Module) -> bool:
    """Each query head has a key head of its own."""
    return type(attention) in (EvaAttention, AttentionRope) and getattr(attention, "num_kv_groups", 1) == 1


def _not_plain(name: str) -> UserError:
    return UserError(
        "model.name must be a ViT of square patches and blocks of norm, then ordinary attention, which timm's "
        f"{name} is not: vit_small_patch16_224, vit_small_patch16_dinov3 and their like are"
    )


def _check_patches(size: int, patch: int) -> None:
    if size % patch:
        raise UserError(f"data.size must be a multiple of the patch size {patch}, got {size}")


def patch_grid(vit: ViT, size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of `size` pixels."""
    height, width = vit.patch_embed.patch_size
    return size // height, size // width


def enter_blocks(vit: ViT, embedded: Tensor) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The first block's input (B, prefix + N, D), and for each block the rotation of its queries and keys, or None.

    A rotation holds sines and cosines: (N, 2 D / H), or (H, N, 2 D / H) where each head has learnt its own.

    Args:
        vit: the network.
        embedded: (B, R, C, D) patch embeddings.
    """
    if isinstance(vit, VisionTransformer):
        return vit.norm_pre(vit._pos_embed(embedded)), (None,) * len(vit.blocks)
    tokens, rotation = vit._pos_embed(embedded)
    # Learnt frequencies differ from block to block.
    of_blocks = tuple(rotation) if rotation is not None and vit.rope_mixed else (rotation,) * len(vit.blocks)
    return vit.norm_pre(tokens), of_blocks


def run_block(block: nn.Module, tokens: Tensor, rotation: Tensor | None) -> Tensor:
    """One block's output, (B, prefix + N, D) like its input; the rotation as `enter_blocks` gives it."""
    return block(tokens) if rotation is None else block(tokens, rope=rotation)


def class_attention(block: nn.Module, tokens: Tensor, rotation: Tensor | None, prefix_tokens: int) -> Tensor:
    """Attention of the class token over the patches (B, H, N), recomputed: fused attention never forms it.

    Args:
        block: a block of a timm ViT.
        tokens: (B, prefix + N, D), the block's input.
        rotation: as `enter_blocks` gives it.
        prefix_tokens: class and register tokens before the patches.
    """
    return _attention(block, tokens, rotation, slice(0, 1), prefix_tokens)[:, :, 0]


def patch_attention(block: nn.Module, tokens: Tensor, rotation: Tensor | None, prefix_tokens: int) -> Tensor:
    """Attention of every patch over the patches (B, H, N, N), rows summing to 1; arguments as in `class_attention`."""
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
    """(B, H, prefix + N, D / H) each, as the attention itself computes them, before its norms."""
    if attention.qkv is None:
        query, key = attention.q_proj(inputs), attention.k_proj(inputs)
    elif getattr(attention, "q_bias", None) is not None:  # EVA-02: no bias on the keys
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        query, key, _ = F.linear(inputs, attention.qkv.weight, bias).chunk(3, dim=-1)
    else:
        query, key, _ = attention.qkv(inputs).chunk(3, dim=-1)
    query, key = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (query, key))
    return query, key


class BackboneOutput(NamedTuple):
    """Tensors of one forward pass over B images; tokens are after the last norm, without registers."""

    features: Tensor
    """(B, 1 + N, D), class token, then patches; of chosen patches alone (B + M, D), class tokens, then patches."""
    images: int
    """B."""
    blocks: tuple[Tensor, ...]
    """(B, 1 + N, D) after each block that was asked for."""
    attention: Tensor | None
    """(B, H, N) of the last block, when it was asked for."""

    @property
    def cls_tokens(self) -> Tensor:
        """(B, D)."""
        return self.features[:, 0] if self.features.dim() == 3 else self.features[: self.images]

    @property
    def patch_tokens(self) -> Tensor | None:
        """(B, N, D); None when only chosen patches were asked for."""
        return self.features[:, 1:] if self.features.dim() == 3 else None

    @property
    def selected_patch_tokens(self) -> Tensor | None:
        """(M, D); None when all patches were asked for."""
        return self.features[self.images :] if self.features.dim() == 2 else None


class MaskedBackbone(nn.Module):
    """The ViT plus the learnt mask token, which is not part of what is exported.

    Args:
        vit: the network.
        keep_blocks: numbers of the blocks whose outputs are kept.
        keep_attention: whether the class token's attention in the last block is kept.
        activation_checkpointing: keep only the blocks' inputs for the backward pass, and compute the rest again.
        whole_blocks: run the last block, too, for all tokens, whichever are asked for.
    """

    def __init__(
        self,
        vit: ViT,
        keep_blocks: tuple[int, ...] = (),
        keep_attention: bool = False,
        activation_checkpointing: bool = False,
        whole_blocks: bool = False,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.vit = vit
        self.keep_blocks = keep_blocks
        self.keep_attention = keep_attention
        self.mask_token = nn.Parameter(torch.zeros(vit.embed_dim))
        last = len(vit.blocks) - 1
        self.cuts_last = supports_token_subset(vit.blocks[last]) and last not in keep_blocks and not whole_blocks

    def forward(self, images: Tensor, patch_mask: Tensor | None = None, chosen: Tensor | None = None) -> BackboneOutput:
        """Tokens, and what else the terms need.

        Args:
            images: (B, 3, S, S), normalised.
            patch_mask: (B, N) bool, True where the mask token replaces the patch; None shows everything.
            chosen: (M,) int64, flat positions in (B, N) of the patches that are asked for beside the class tokens; the
                last block's MLP and the last norm then leave out all others. None asks for every patch.
        """
        vit = self.vit
        embedded = vit.patch_embed(images)  # (B, R, C, D)
        if patch_mask is not None:
            hidden = patch_mask.view(*embedded.shape[:-1], 1)
            embedded = torch.where(hidden, self.mask_token.to(embedded.dtype), embedded)
        tokens, rotations = enter_blocks(vit, embedded)
        kept: dict[int, Tensor] = {}
        attention, places = None, None
        if chosen is not None:
            places = flat_token_indices(len(images), embedded[0, ..., 0].numel(), vit.num_prefix_tokens, chosen)
        for number, (block, rotation) in enumerate(zip(vit.blocks, rotations, strict=True)):
            last = number == len(vit.blocks) - 1
            if self.keep_attention and last:
                attention = class_attention(block, tokens, rotation, vit.num_prefix_tokens)
            if last and self.cuts_last and places is not None:
                tokens = self._through(run_block_on_subset, block, tokens, rotation, places)
            else:
                tokens = self._through(run_block, block, tokens, rotation)
            if number in self.keep_blocks:
                kept[number] = self._without_registers(tokens)
        blocks = tuple(kept[number] for number in self.keep_blocks)
        if places is None:
            return BackboneOutput(self._without_registers(vit.norm(tokens)), len(images), blocks, attention)
        rows = tokens if self.cuts_last else tokens.flatten(0, 1).index_select(0, places)
        return BackboneOutput(vit.norm(rows), len(images), blocks, attention)

    def _through(self, run: Callable[..., Tensor], *given: Any) -> Tensor:
        # The random state is kept too, so that stochastic depth drops the same paths again.
        return checkpoint(run, *given, use_reentrant=False) if self.activation_checkpointing else run(*given)

    def _without_registers(self, tokens: Tensor) -> Tensor:
        prefix = self.vit.num_prefix_tokens
        return tokens if prefix == 1 else torch.cat([tokens[:, :1], tokens[:, prefix:]], dim=1)
