"""Feature sets without images, for evaluators that read features alone."""

import torch
from torch import Tensor

from mrkd.data.resident import ResidentDataset
from mrkd.evaluation.features import FeatureSet


def feature_set(features: Tensor, labels: Tensor | None, classes: int = 3) -> FeatureSet:
    """Features (n, D) and labels (n,), with black images of one pixel."""
    names = () if labels is None else tuple(map(str, range(classes)))
    images = torch.zeros(len(features), 3, 1, 1, dtype=torch.uint8)
    return FeatureSet(images=ResidentDataset(images=images, labels=labels, class_names=names), features=features)
