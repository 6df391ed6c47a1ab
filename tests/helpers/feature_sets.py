"""Feature sets for evaluators."""

import torch
from torch import Tensor

from mrkd.data.resident import ResidentDataset
from mrkd.evaluation.features import FeatureSet


def feature_set(
    features: Tensor,
    labels: Tensor | None,
    classes: int = 3,
    *,
    pixels: Tensor | None = None,
    masks: Tensor | None = None,
) -> FeatureSet:
    """Features (n, D) and labels (n,), of black images of one pixel where no others are given."""
    names = () if labels is None else tuple(map(str, range(classes)))
    if pixels is None:
        pixels = torch.zeros(len(features), 3, 1, 1, dtype=torch.uint8)
    images = ResidentDataset(images=pixels, labels=labels, class_names=names, masks=masks)
    return FeatureSet(images=images, features=features)
