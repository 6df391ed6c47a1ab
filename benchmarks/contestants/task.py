"""What all contestants are given. Axes: B images, S pixels, D width."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mrkd.config import DataConfig

Features = Callable[[Tensor], Tensor]
"""uint8 images (B, 3, S, S) -> (B, D), in evaluation mode; called without gradients."""
Observe = Callable[[Features], None]
"""To be called with the present features before the first step and after every pass; its time is off the clock."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Images, number of passes and seed."""

    source: str
    images: int
    """That are trained on."""
    epochs: int
    """A schedule ends with the last of these passes."""
    seed: int
    size: int = 32
    """Pixels."""

    @property
    def data(self) -> DataConfig:
        """With a fifth of the training split held out, and nothing decoded kept from run to run."""
        return DataConfig(
            source=self.source, size=self.size, train_images=self.images, holdout="validation", cache=None
        )
