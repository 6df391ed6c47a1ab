"""A frozen teacher: a trained timm model that does not change, whose outputs the student's terms are matched to.

`mrkd.runs.load_teacher` finds and loads the network.

Axes: V views, B images, S pixels, N patches of the student's grid, H heads, D width of the teacher.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrkd.data.augment.views import MEAN, STD
from mrkd.errors import UserError
from mrkd.model.backbone import MaskedBackbone, is_supported_vit
from mrkd.objective.tokens import ViewTokens

LEAST_SPREAD = 1e-3
"""Features whose distance from their mean is a smaller fraction of their length are the same for every image."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a network wants its images."""

    mean: Sequence[float]
    """Of the three channels, in [0, 1]."""
    std: Sequence[float]
    size: int
    """Side in pixels that it was trained on."""
    any_size: bool
    """Whether it takes others, too."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"

    @classmethod
    def of(cls, pretrained_config: dict[str, Any]) -> "Preparation":
        """From timm's description of a model."""
        bilinear = pretrained_config.get("interpolation") == "bilinear"
        return cls(
            mean=tuple(pretrained_config.get("mean", MEAN)),
            std=tuple(pretrained_config.get("std", STD)),
            size=pretrained_config.get("input_size", (3, 224, 224))[-1],
            any_size=not pretrained_config.get("fixed_input_size", False),
            interpolation="bilinear" if bilinear else "bicubic",
        )


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A timm model with its weights, without a classifier."""

    network: nn.Module
    preparation: Preparation
    source: str
    """Where it was found."""
    name: str
    """timm's name of the architecture."""
    sha256: str
    """Of its weights."""


def count_parameters(network: nn.Module) -> int:
    """Numbers in all of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


class FrozenTeacher(nn.Module):
    """Embeddings and patches of a trained network for the student's views; it is never trained nor saved.

    Args:
        trained: any timm model of images.
        view_size: side of the views in pixels, as the student sees them.
        size: side at which the teacher sees them; None for theirs where the teacher takes any size, else its own.
        grid: (R, C) patches of the student, to which the teacher's are interpolated.
        patches: whether a term needs them.
        attention: whether a term needs the class token's attention.
        at_a_time: views that go through it at a time; None takes all at once.
    Raises:
        UserError: it cannot take this size, or has no patches or attention where a term needs them.
    """

    scale: Tensor
    """(3, 1, 1), with `shift` from the student's normalisation to the teacher's."""
    shift: Tensor

    def __init__(
        self,
        trained: TrainedNetwork,
        *,
        view_size: int,
        size: int | None = None,
        grid: tuple[int, int],
        patches: bool = False,
        attention: bool = False,
        at_a_time: int | None = None,
    ) -> None:
        super().__init__()
        wants = trained.preparation
        self.trained, self.grid, self.at_a_time = trained, grid, at_a_time
        self.size = size or (view_size if wants.any_size else wants.size)
        self.interpolation = None if self.size == view_size else wants.interpolation
        self.network: Any = trained.network.eval().requires_grad_(False)
        self.backbone = self._with_attention() if attention else None
        self.wants_patches = patches
        # The student's normalisation is undone and the teacher's done in one step; without rounding where they agree.
        self.renormalizes = tuple(wants.mean) != MEAN or tuple(wants.std) != STD
        own, students = ((torch.tensor(m), torch.tensor(s)) for m, s in ((wants.mean, wants.std), (MEAN, STD)))
        self.register_buffer("scale", (students[1] / own[1]).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((students[0] - own[0]) / own[1]).view(3, 1, 1), persistent=False)
        probed = self._probe(view_size)
        self.width = probed.cls_backbone.shape[-1]
        """D, of an image's embedding."""
        self.patch_width = self.width if probed.patch_backbone is None else probed.patch_backbone.shape[-1]
        """D, of a patch; the same but for networks with a layer behind their pooling."""
        self.heads = None if probed.attention is None else probed.attention.shape[2]
        """H, of the attention; None where no term needs it."""
        self._looked_at_features = False

    @torch.no_grad()
    def forward(self, views: Tensor) -> ViewTokens:
        """Tokens of the student's normalised views (V, B, 3, S, S), without gradients.

        Raises:
            UserError: at the first call, features that are not finite or the same for every image.
        """
        tokens = self._tokens(views)
        if not self._looked_at_features:
            self._looked_at_features = True
            self._check_features(tokens.cls_backbone.flatten(0, 1).float())
        return tokens

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """(B, D) float32 embeddings of images (B, 3, S, S) under the student's normalisation."""
        return self._tokens(images[None]).cls_backbone[0].float()

    def described(self) -> dict[str, Any]:
        """Which network it is, as a run keeps it."""
        return {
            "source": self.trained.source,
            "name": self.trained.name,
            "sha256": self.trained.sha256,
            "parameters": count_parameters(self.network),
            "width": self.width,
            "size": self.size,
        }

    def _tokens(self, views: Tensor) -> ViewTokens:
        flat = views.flatten(0, 1)
        parts = [self._forward(self.prepared(part)) for part in flat.split(self.at_a_time or len(flat))]
        images, patches, attention = (
            None if column[0] is None else torch.cat(column).unflatten(0, views.shape[:2])
            for column in zip(*parts, strict=True)
        )
        assert images is not None
        return ViewTokens(
            features=images.flatten(0, 1), cls_backbone=images, patch_backbone=patches, attention=attention
        )

    def prepared(self, views: Tensor) -> Tensor:
        """Views (B, 3, S, S) under the student's normalisation as the teacher wants them."""
        if self.interpolation is not None:
            shape = (self.size, self.size)
            views = F.interpolate(views, shape, mode=self.interpolation, align_corners=False, antialias=True)
        return views * self.scale + self.shift if self.renormalizes else views

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(B, D) embeddings, (B, N, D) patches and (B, H, N) attention, each where it is needed."""
        if self.backbone is not None:
            output = self.backbone(images)
            patches = self._on_the_grid(output.patch_tokens.transpose(1, 2)) if self.wants_patches else None
            return output.cls_tokens, patches, output.attention
        features = self.network.forward_features(images)
        embeddings = self.network.forward_head(features, pre_logits=True)
        return embeddings, self._on_the_grid(self._channels_first(features)) if self.wants_patches else None, None

    def _channels_first(self, features: Tensor) -> Tensor:
        """(B, D, patches) of whatever layout the network's features have."""
        if features.ndim == 3:  # (B, prefix + patches, D)
            return features[:, getattr(self.network, "num_prefix_tokens", 0) :].transpose(1, 2)
        channels_last = features.shape[1] != self.network.num_features == features.shape[-1]
        return (features.movedim(-1, 1) if channels_last else features).flatten(2)

    def _on_the_grid(self, patches: Tensor) -> Tensor:
        """(B, D, patches of its own square grid) -> (B, N, D)."""
        side = math.isqrt(patches.shape[-1])
        if side * side != patches.shape[-1] or side < 2:
            raise UserError(
                f"{self.trained.name} has {patches.shape[-1]} patch{'es' * (side > 1)} at {self.size} pixels, no grid "
                "that patches could be matched to: set objective.patch_relation_weight 0, or a larger teacher.size"
            )
        if (side, side) != self.grid:
            maps = patches.unflatten(-1, (side, side)).float()
            patches = F.interpolate(maps, self.grid, mode="bilinear", align_corners=False, antialias=True).flatten(2)
        return patches.transpose(1, 2)

    def _with_attention(self) -> MaskedBackbone:
        network = self.network
        if not is_supported_vit(network) or network.global_pool != "token":
            raise UserError(f"attention is that of a ViT's class token, which the teacher {self.trained.name} has not")
        return MaskedBackbone(network, keep_attention=True).requires_grad_(False)

    @torch.no_grad()
    def _probe(self, view_size: int) -> ViewTokens:
        """What it gives for an empty view, at the size that was asked for."""
        self._check_size()
        try:
            if self.size != self.trained.preparation.size and hasattr(self.network, "set_input_size"):
                self._set_size()
            return self._tokens(torch.zeros(1, 1, 3, view_size, view_size))
        except UserError:
            raise
        except Exception as error:  # whatever a network says of a size that it cannot take
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the teacher {self.trained.name}, made for {self.trained.preparation.size} pixels, cannot take "
                f"{self.size}: {reason}; set teacher.size"
            ) from None

    def _check_size(self) -> None:
        """timm leaves out the pixels behind the last whole patch without a word."""
        patch = getattr(getattr(self.network, "patch_embed", None), "patch_size", (1, 1))
        if self.size % patch[0]:
            raise UserError(
                f"the teacher {self.trained.name} takes multiples of its patch of {patch[0]} pixels, got {self.size}: "
                f"set teacher.size, such as {max(1, round(self.size / patch[0])) * patch[0]}"
            )

    def _set_size(self) -> None:
        embedding = getattr(self.network, "patch_embed", None)
        if getattr(embedding, "strict_img_size", True):  # others take any whole number of patches as they are
            self.network.set_input_size((self.size, self.size))

    def _check_features(self, features: Tensor) -> None:
        spread = (features - features.mean(dim=0)).norm() / features.norm()
        if not torch.isfinite(spread):
            raise UserError(f"the teacher {self.trained.source} gives features that are not finite: choose another one")
        if spread < LEAST_SPREAD:
            raise UserError(
                f"the teacher {self.trained.source} gives the same features for every image (they differ by "
                f"{spread:.1e} of their length): it has collapsed or was not trained; choose another one"
            )
