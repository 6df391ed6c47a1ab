"""Linear discriminant analysis of views: images are the classes. Axes: A views, n images, D width."""

import torch
from torch import Tensor

from mrkd.evaluation.collapse import effective_rank

RIDGE = 1e-4
"""Added to the within-image covariance, as a fraction of its mean variance, so that it can be inverted."""


def lidar(views: Tensor) -> float:
    """Effective rank of S_w^-1/2 S_b S_w^-1/2 of features (A, n, D) of A >= 2 views of n >= 2 images; in [1, D].

    S_b is the covariance of the images' means, S_w that of views around the mean of their image, plus a ridge. The
    paper's ridge is absolute; here it grows with the features, so that their scale has no influence.

    Source:
        Thilak et al., LiDAR, ICLR 2024 (arXiv:2312.04000), section 4.1.
    """
    views = views.double()
    copies, images = views.shape[:2]
    means = views.mean(dim=0)
    within = (views - means).flatten(0, 1)
    between = means - means.mean(dim=0)
    within_covariance = within.T @ within / (images * (copies - 1))
    ridge = RIDGE * within_covariance.diagonal().mean()
    within_covariance.diagonal().add_(ridge.clamp(min=torch.finfo(torch.float64).tiny ** 0.5))
    factor = torch.linalg.cholesky(within_covariance)
    # S_w = L L^T; L^-1 S_b L^-T has the eigenvalues of S_w^-1/2 S_b S_w^-1/2, the squared singular values of L^-1 B.
    whitened = torch.linalg.solve_triangular(factor, between.T, upper=False)
    return effective_rank(torch.linalg.svdvals(whitened).square() / (images - 1))
