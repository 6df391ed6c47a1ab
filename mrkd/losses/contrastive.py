"""SimCLR, VICReg and Barlow Twins: losses between two student views of the same images, without a teacher.

Axes: B images, E embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses.checks import check_pair
from mrkd.losses.kernels.precision import widened
from mrkd.losses.regularizers import variance_hinge
from mrkd.losses.unit_length import unit_length


def nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.2) -> Tensor:
    """SimCLR's NT-Xent: classify which of the other 2 B - 1 embeddings is the other view of the same image.

    Args:
        first: (B, E) embeddings of one view, normalised inside.
        second: (B, E) embeddings of the other view.
        temperature: divides the cosines.
    Returns:
        Scalar, nats; ln(2 B - 1) when all embeddings are equal.
    Raises:
        ValueError: the shapes differ, B < 2, a value is not finite, or the temperature is not positive.
    Source:
        Chen et al., SimCLR, ICML 2020 (arXiv:2002.05709), eq. 1.
    """
    _check_views(first, second)
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    with torch.autocast(first.device.type, enabled=False):
        unit = unit_length(widened(torch.cat([first, second])))
        logits = (unit @ unit.mT) / temperature
        logits = logits.masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -torch.inf)
        target = torch.arange(len(unit), device=unit.device).roll(len(first))
        return F.cross_entropy(logits, target)


def vicreg(
    first: Tensor,
    second: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """VICReg: both views have equal embeddings, each channel varies, and channels are uncorrelated.

    Args:
        first: (B, E) embeddings of one view, not normalised.
        second: (B, E) embeddings of the other view.
        invariance: weight of the mean squared difference.
        variance: weight of the hinge on each channel's std, averaged over both views.
        covariance: weight of the squared off-diagonal covariances over E, summed over both views.
    Returns:
        Scalar >= 0.
    Raises:
        ValueError: the shapes differ, B < 2, or a value is not finite.
    Source:
        Bardes et al., VICReg, ICLR 2022 (arXiv:2105.04906), eq. 1-6.
    """
    _check_views(first, second)
    with torch.autocast(first.device.type, enabled=False):
        first, second = widened(first), widened(second)
        loss = invariance * F.mse_loss(first, second)
        for view in (first, second):
            centered = view - view.mean(dim=0)
            matrix = centered.mT @ centered / (len(view) - 1)
            repeated = (matrix.square().sum() - matrix.diagonal().square().sum()) / view.shape[1]
            loss = loss + 0.5 * variance * variance_hinge(view) + covariance * repeated
        return loss


def barlow_twins(first: Tensor, second: Tensor, *, off_diagonal: float = 0.0051) -> Tensor:
    """Barlow Twins: the correlation matrix between the channels of both views is near the identity.

    Args:
        first: (B, E) embeddings of one view, not normalised; each channel is standardised over the batch.
        second: (B, E) embeddings of the other view.
        off_diagonal: weight of the squared correlations between different channels.
    Returns:
        Scalar >= 0, a sum over channels; E when the views are unrelated and channels uncorrelated.
    Raises:
        ValueError: the shapes differ, B < 2, or a value is not finite.
    Source:
        Zbontar et al., Barlow Twins, ICML 2021 (arXiv:2103.03230), eq. 1-2, with the variance's 1e-5 and the weight of
        the authors' code.
    """
    _check_views(first, second)
    with torch.autocast(first.device.type, enabled=False):
        first, second = (F.batch_norm(widened(view), None, None, training=True) for view in (first, second))
        squared = (first.mT @ second / len(first) - torch.eye(first.shape[1], device=first.device)).square()
        on_diagonal = squared.diagonal().sum()
        return on_diagonal + off_diagonal * (squared.sum() - on_diagonal)


def _check_views(first: Tensor, second: Tensor) -> None:
    check_pair(first, second)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"both views must have shape (B, E), got {tuple(first.shape)} and {tuple(second.shape)}")
