"""scikit-learn's 1,797 handwritten digits, embedded in that package."""

import numpy as np
import torch

from mrkd.data.listing import KeptCells
from mrkd.data.sources.labels import Found


def find_digits(size: int) -> dict[str, Found]:
    """The 8x8 images, enlarged to `size` pixels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32))[:, None] * (255.0 / 16.0)  # (n, 1, 8, 8)
    images = torch.nn.functional.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    pixels = images.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    names = [f"digits row {row}" for row in range(len(pixels))]
    values = [int(value) for value in bunch.target]
    return {"train": Found(names=names, cells=KeptCells(pixels), values=values, class_names=[*map(str, range(10))])}
