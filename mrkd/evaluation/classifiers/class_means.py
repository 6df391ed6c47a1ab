"""Nearest class mean from few labels. Axes: n images, D width, C classes, P of them with images, R draws, K shots.

It has no settings, whereas the strength of a probe would have to be chosen on held-out labels that one image of each
class does not leave.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def centre_and_normalise(features: Tensor, reference: Tensor) -> Tensor:
    """Features (n, D) less the mean of `reference` (m, D), each divided by its length.

    Source:
        Wang et al., SimpleShot, 2019 (arXiv:1911.04623), section 3, "CL2N".
    """
    return F.normalize(features - reference.mean(dim=0), dim=1)


def draw_each_class(labels: Tensor, shots: int, *, draws: int, seed: int) -> Tensor:
    """Rows (R, P, K) of `shots` different random images of each class that has images, in each of `draws` draws.

    Args:
        labels: (n,) int64.
        shots: K, at most the size of the smallest class.
        draws: R.
        seed: of the draws.
    Raises:
        ValueError: a class has too few images.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = labels.cpu()
    sizes = classes.unique(return_counts=True)[1]
    if int(sizes.min()) < shots:
        raise ValueError(f"shots must be at most the {int(sizes.min())} images of the smallest class, got {shots}")
    columns = (sizes.cumsum(0) - sizes)[:, None] + torch.arange(shots)  # (P, K) among rows sorted by class
    drawn = []
    for _ in range(draws):
        order = torch.randperm(len(classes), generator=generator)
        drawn.append(order[classes[order].argsort(stable=True)][columns])
    return torch.stack(drawn).to(labels.device)


def nearest_mean_weights(features: Tensor, labels: Tensor, rows: Tensor, *, classes: int) -> Tensor:
    """Weights (R, D + 1, C), the bias last, whose highest score is the class with the nearest mean.

    The score is x · m - |m|² / 2, which orders classes as the Euclidean distance to their means m does. A class without
    images has the bias -inf.

    Args:
        features: (n, D).
        labels: (n,) int64 in [0, C).
        rows: (R, P, K) from `draw_each_class`.
        classes: C.
    """
    means = features[rows].mean(dim=2)  # (R, P, K, D) -> (R, P, D)
    weights = features.new_zeros(len(rows), features.shape[1] + 1, classes)
    weights[:, -1] = -torch.inf
    present = labels.unique()
    weights[:, :-1, present] = means.mT
    weights[:, -1, present] = -0.5 * means.square().sum(dim=2)
    return weights
