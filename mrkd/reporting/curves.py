"""The curves of page and figures: titles, which of them are single batches, and the line that smooths those."""

from collections.abc import Sequence

import numpy as np

CURVES = {
    "loss": "loss",
    "agreement": "teacher–student agreement, %",
    "teacher_entropy": "teacher entropy, nats",
    "feature_std": "feature std",
    "rankme": "RankMe, effective rank",
    "knn": "k-NN on held-out training images, %",
    "relation_correlation": "student–teacher distance correlation",
    "relation_distance": "mean distance between class tokens",
    "cls_cosine": "mean cosine between class tokens",
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
"""Key in metrics.jsonl, title."""
SINGLE_BATCH = frozenset(
    {
        "loss",
        "agreement",
        "teacher_entropy",
        "relation_correlation",
        "relation_distance",
        "cls_cosine",
        "gradient_norm",
    }
)
"""Those of the batch of one step, which scatter; `feature_std`, `rankme` and `knn` are of a fixed set of images."""
SMOOTHING = 0.05
"""Default width of the average, as a fraction of the run."""


def smoothed(steps: Sequence[float], values: Sequence[float], width: float = SMOOTHING) -> list[float]:
    """Local linear regression with Gaussian weights: unlike a moving average, it does not lag behind a falling loss.

    The page's `smoothing.js` has the same.

    Args:
        steps: rising.
        values: as many.
        width: standard deviation of the weights, as a fraction of the range of the steps; 0 changes nothing.
    Returns:
        A value for each step, within the range of the values around it.
    """
    scale = width * (steps[-1] - steps[0]) if len(steps) else 0.0
    if scale <= 0:
        return list(values)
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    return [_local_line((x - at) / scale, y) for at in x]


def _local_line(distances: np.ndarray, values: np.ndarray) -> float:
    """The value at 0 of the line through points at these distances; those beyond 3 have no weight."""
    near = np.abs(distances) <= 3
    d, y = distances[near], values[near]
    w = np.exp(-(d**2) / 2)
    total, first, second = w.sum(), w @ d, w @ d**2
    determinant = total * second - first**2
    fitted = (
        w @ y / total if determinant <= 1e-9 * total**2 else (second * (w @ y) - first * (w @ (d * y))) / determinant
    )
    return float(np.clip(fitted, y.min(), y.max()))
