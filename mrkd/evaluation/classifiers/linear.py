"""Linear classifiers of features: scores and accuracies. Axes: n images, D width, L rates or strengths, C classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SCORES = 2**26
"""Held at a time: images times classes times learning rates may not fit."""


def predict(features: Tensor, weights: Tensor) -> Tensor:
    """Class scores (L, n, C) of features (n, D) under weights (L, D + 1, C)."""
    return F.pad(features, (0, 1), value=1.0) @ weights


def accuracies(features: Tensor, labels: Tensor, weights: Tensor) -> list[float]:
    """Percent of features (n, D) whose label (n,) is the highest score, for each of the weights (L, D + 1, C)."""
    together = max(1, MAX_SCORES // (weights.shape[0] * weights.shape[2]))
    hits = torch.zeros(len(weights), device=features.device)
    for part, truth in zip(features.split(together), labels.split(together), strict=True):
        hits += (predict(part, weights).argmax(dim=-1) == truth).sum(dim=1)
    return (100.0 * hits / len(labels)).tolist()


def standardize(features: Tensor, reference: Tensor) -> Tensor:
    """Features with the mean and std of `reference` taken out, channel by channel."""
    return (features - reference.mean(dim=0)) / (reference.std(dim=0) + 1e-6)
