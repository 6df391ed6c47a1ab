"""A plain timm ViT with a mask token put in between its patch embedding and its blocks.

Axes: B images, S pixels, N patches, D width.
"""

import difflib

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mrkd.config import ModelConfig
from mrkd.errors import UserError


def _timm_name(name: str) -> str:
    names = [known for known in timm.list_models("*vit*") if "." not in known]
    if name in names:
        return name
    # 'vit_small_patch8' is how people call it; timm's names end in the resolution they were made for.
    sized = [known for known in (f"{name}_224", f"{name}_256") if known in names]
    if sized:
        return sized[0]
    close = difflib.get_close_matches(name, names, n=3)
    raise UserError(f"unknown timm ViT {name!r}: try {', '.join(close) or 'vit_small_patch8'}, or set model.width")


def create_vit(config: ModelConfig, size: int, drop_path: float = 0.0) -> VisionTransformer:
    """A timm ViT without a classifier, for images of `size` pixels or, by interpolation, any multiple of the patch.

    Raises:
        UserError: no such timm ViT, or the image is not a whole number of patches.
    """
    name, sizes = "vit_tiny_patch16_224", {}
    if config.name is None:
        sizes = {
            "patch_size": config.patch,
            "embed_dim": config.width,
            "depth": config.depth,
            "num_heads": config.heads,
        }
        _check_patches(size, config.patch)
    else:
        name = _timm_name(config.name)
    # Dynamic sizes serve local crops and enlarged images for attention maps.
    model = timm.create_model(
        name,
        pretrained=False,
        num_classes=0,
        img_size=size,
        dynamic_img_size=True,
        drop_path_rate=drop_path,
        class_token=True,
        global_pool="token",
        **sizes,
    )
    if not isinstance(model, VisionTransformer):
        raise UserError(f"model.name must be a plain timm VisionTransformer, got {type(model).__name__} for {name}")
    _check_patches(size, model.patch_embed.patch_size[0])
    return model


def _check_patches(size: int, patch: int) -> None:
    if size % patch:
        raise UserError(f"data.size must be a multiple of the patch size {patch}, got {size}")


def patch_grid(vit: VisionTransformer, size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of `size` pixels."""
    height, width = vit.patch_embed.patch_size
    return size // height, size // width


class MaskedBackbone(nn.Module):
    """The ViT plus the learnt mask token, which is not part of what is exported."""

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.vit = vit
        self.mask_token = nn.Parameter(torch.zeros(vit.embed_dim))

    def forward(self, images: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Tokens after the last norm.

        Args:
            images: (B, 3, S, S), normalised.
            patch_mask: (B, N) bool, True where the mask token replaces the patch; None shows everything.
        Returns:
            (B, 1 + N, D): class token, then patches; register tokens are left out.
        """
        vit = self.vit
        embedded = vit.patch_embed(images)  # (B, R, C, D)
        if patch_mask is not None:
            hidden = patch_mask.view(*embedded.shape[:-1], 1)
            embedded = torch.where(hidden, self.mask_token.to(embedded.dtype), embedded)
        tokens = vit.norm(vit.blocks(vit.norm_pre(vit._pos_embed(embedded))))
        if vit.num_prefix_tokens > 1:
            tokens = torch.cat([tokens[:, :1], tokens[:, vit.num_prefix_tokens :]], dim=1)
        return tokens
