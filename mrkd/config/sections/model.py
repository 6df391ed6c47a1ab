"""Section `model`: the Vision Transformer."""

from __future__ import annotations

from dataclasses import dataclass

from mrkd.config.checks import check_fraction, require


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The Vision Transformer, by timm name or by its sizes."""

    name: str | None = None
    """A timm ViT such as `vit_small_patch16_224`; tiny, small, base and large accept any patch size, as in
    `vit_tiny_patch4`. Null builds a ViT from the sizes below."""
    weights: str | None = None
    """Initial weights instead of random ones: a file of a timm ViT (safetensors, pth), a run, or an export of one.
    Position embeddings are resampled to `data.size`."""
    patch: int = 8
    """Side of a patch in pixels, for a ViT built from sizes."""
    width: int = 192
    """Embedding width, for a ViT built from sizes."""
    depth: int = 12
    """Number of blocks, for a ViT built from sizes."""
    heads: int = 3
    """Attention heads per block, for a ViT built from sizes."""
    drop_path: float = 0.0
    """Stochastic depth of the student: probability of dropping the last block; it rises linearly over the blocks."""

    def __post_init__(self) -> None:
        check_fraction("model.drop_path", self.drop_path)
        if self.name is None:
            for name in ("patch", "width", "depth", "heads"):
                require(getattr(self, name) >= 1, f"model.{name} must be at least 1, got {getattr(self, name)}")
            require(
                self.width % self.heads == 0,
                f"model.width must be a multiple of model.heads = {self.heads}, got {self.width}",
            )
