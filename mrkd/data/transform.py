"""From one image in any form to the tensor that a backbone takes. Axes: S pixels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrkd.data.augment.views import normalize
from mrkd.data.sources.given import image_pixels


@dataclass(frozen=True)
class ImageTransform:
    """Read, resize, crop and normalise an image as in training; it can be pickled, for the workers of a loader."""

    size: int
    """S."""
    max_pixels: int
    """Larger files are not decoded."""

    def __call__(self, image: Any) -> Tensor:
        """The image as (3, S, S) float32.

        Args:
            image: the path of a file, a PIL image, an array (H, W, 3) or a tensor (3, H, W).
        Raises:
            UserError: it is no image, or cannot be read.
        """
        pixels = image_pixels(image, self.size, max_pixels=self.max_pixels)
        return normalize(torch.from_numpy(pixels.copy()).permute(2, 0, 1)).contiguous()
