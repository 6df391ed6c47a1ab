"""Random views on the device, every image with its own parameters. Axes: V views, B images, S pixels."""

import torch
from torch import Tensor, nn

from mrkd.config import ViewsConfig

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, which timm's models expect."""


def normalize(images: Tensor) -> Tensor:
    """uint8 or [0, 1] float images (..., 3, S, S) to standardised float32."""
    scaled = images.float() / 255.0 if images.dtype == torch.uint8 else images
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(3, 1, 1)
    return (scaled - mean) / std


def denormalize(images: Tensor) -> Tensor:
    """Back to uint8 for people to look at: the inverse of `normalize` up to rounding."""
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(3, 1, 1)
    return ((images * std + mean) * 255.0).round().clamp(0, 255).to(torch.uint8)


class ViewMaker:
    """Draws global views, and local crops when there are any, with kornia."""

    def __init__(self, config: ViewsConfig, size: int) -> None:
        self.config = config
        self.global_pipeline = _pipeline(config, size, config.crop_scale)
        self.local_pipeline = _pipeline(config, config.local_size, config.local_scale) if config.local_views else None

    @torch.no_grad()
    def __call__(self, images: Tensor, views: int = 2) -> tuple[Tensor, Tensor | None]:
        """Normalised views (V, B, 3, S, S) and local crops (V_local, B, 3, s, s) of uint8 images (B, 3, S, S).

        Random numbers come from torch's global generator.
        """
        scaled = images.float() / 255.0
        local = None
        if self.local_pipeline is not None:
            local = _draw(self.local_pipeline, scaled, self.config.local_views)
        return _draw(self.global_pipeline, scaled, views), local


def _draw(pipeline: nn.Module, scaled: Tensor, views: int) -> Tensor:
    repeated = scaled.repeat(views, 1, 1, 1)  # (V * B, 3, S, S)
    return normalize(pipeline(repeated)).unflatten(0, (views, scaled.shape[0]))


def _pipeline(config: ViewsConfig, size: int, scale: tuple[float, float]) -> nn.Module:
    import kornia.augmentation as augment

    steps: list[nn.Module] = [
        # 'resample' crops the whole batch in one interpolation; slicing would loop over images.
        augment.RandomResizedCrop((size, size), scale=scale, ratio=config.crop_ratio, cropping_mode="resample")
    ]
    if config.rotate_degrees:
        steps.append(augment.RandomRotation(config.rotate_degrees, p=1.0))
    if config.flip:
        steps.append(augment.RandomHorizontalFlip(p=config.flip))
    if config.jitter and any((config.brightness, config.contrast, config.saturation, config.hue)):
        steps.append(
            augment.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue, p=config.jitter)
        )
    if config.grey:
        steps.append(augment.RandomGrayscale(p=config.grey))
    return augment.AugmentationSequential(*steps, data_keys=["input"])
