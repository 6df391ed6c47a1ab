"""Accuracy of class scores."""

from torch import Tensor


def accuracy(scores: Tensor, labels: Tensor, top: int = 1) -> float:
    """Top-`top` accuracy, in percent, of scores (q, C)."""
    top = min(top, scores.shape[1])
    return 100.0 * (scores.topk(top, dim=1).indices == labels[:, None]).any(dim=1).float().mean().item()
