"""Multinomial logistic regression at its optimum, by preconditioned L-BFGS. Axes: n images, D width, C classes.

Features of a network are often nearly collinear, on which plain L-BFGS takes hundreds of iterations. Here it works in
coordinates in which the curvature at zero weights is the identity, which changes the way and not the optimum.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SCORES = 2**26
"""Held at a time: images times classes may not fit."""
MAX_ITERATIONS = 300
"""For each strength; a few dozen are usual."""
GRADIENT_TOLERANCE = 3e-5
"""Largest entry of the gradient, in the preconditioned coordinates, at which the weights are taken as the optimum."""


def fit_logistic(features: Tensor, labels: Tensor, *, classes: int, strengths: Sequence[float]) -> Tensor:
    """Weights (S, D + 1, C), the bias last, that minimise the regularised cross-entropy for each of S strengths.

    The objective is scikit-learn's: half the squared weights, without the bias, plus the strength times the sum of the
    cross-entropies. Strengths are fitted from the smallest up, each from the weights of the one before.

    Args:
        features: (n, D), standardised; float32 or float64.
        labels: (n,) int64 in [0, C).
        classes: C.
        strengths: S positive values, scikit-learn's `C`: larger ones regularise less.
    """
    if len(features) < features.shape[1]:
        basis = _row_space(features)
        inner = fit_logistic(features @ basis, labels, classes=classes, strengths=strengths)
        return torch.cat([basis @ inner[:, :-1], inner[:, -1:]], dim=1)
    covariance = features.T @ features / len(features)
    weights = features.new_zeros(features.shape[1] + 1, classes)
    fitted = {}
    for strength in sorted(set(strengths)):
        penalty = 1 / (strength * len(features))
        weights = _Problem(features, labels, covariance, classes=classes, penalty=penalty).solve(weights)
        fitted[strength] = weights
    return torch.stack([fitted[strength] for strength in strengths])


def _row_space(features: Tensor) -> Tensor:
    """An orthonormal basis (D, R) of what fewer images than channels span: the penalty keeps the optimum within it."""
    values, vectors = torch.linalg.eigh(features @ features.T)
    large = values > len(features) * torch.finfo(features.dtype).eps * values[-1].clamp(min=1)
    return features.T @ (vectors[:, large] / values[large].sqrt())


class _Problem:
    """The mean cross-entropy plus `penalty` times half the squared weights."""

    def __init__(self, features: Tensor, labels: Tensor, covariance: Tensor, *, classes: int, penalty: float) -> None:
        self.features, self.labels, self.penalty = features, labels, penalty
        self.together = max(1, MAX_SCORES // classes)
        # The curvature at zero weights: the covariance times the variance of one class's indicator, about 1 / C. What
        # rounding could make negative is lifted; only the way to the optimum depends on it.
        curvature = covariance / classes
        rounding = 4 * len(covariance) * torch.finfo(covariance.dtype).eps / classes
        curvature.diagonal().add_(max(penalty, rounding))
        self.factor = torch.linalg.cholesky(curvature)
        self.bias_scale = math.sqrt(classes)

    def solve(self, start: Tensor) -> Tensor:
        """The optimum (D + 1, C), looked for from `start`."""
        inner = torch.cat([self.factor.T @ start[:-1], start[-1:] / self.bias_scale])
        optimizer = torch.optim.LBFGS(
            [inner],
            max_iter=MAX_ITERATIONS,
            tolerance_grad=GRADIENT_TOLERANCE,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        @torch.no_grad()
        def closure() -> Tensor:
            loss, gradient = self._loss_and_gradient(self._weights(inner))
            whitened = torch.linalg.solve_triangular(self.factor, gradient[:-1], upper=False)
            inner.grad = torch.cat([whitened, gradient[-1:] * self.bias_scale])
            return loss

        optimizer.step(closure)
        return self._weights(inner)

    def _weights(self, inner: Tensor) -> Tensor:
        """From the preconditioned coordinates (D + 1, C) back."""
        plain = torch.linalg.solve_triangular(self.factor.T, inner[:-1], upper=True)
        return torch.cat([plain, inner[-1:] * self.bias_scale])

    def _loss_and_gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The objective and its gradient (D + 1, C), piece by piece."""
        slopes, bias = weights[:-1], weights[-1]
        loss = weights.new_zeros(())
        gradient = torch.zeros_like(weights)
        for part, truth in zip(self.features.split(self.together), self.labels.split(self.together), strict=True):
            log_probs = F.log_softmax(torch.addmm(bias, part, slopes), dim=1)
            loss += F.nll_loss(log_probs, truth, reduction="sum")
            residual = log_probs.exp_()
            residual[torch.arange(len(truth), device=truth.device), truth] -= 1
            gradient[:-1] += part.T @ residual
            gradient[-1] += residual.sum(dim=0)
        count = len(self.features)
        gradient /= count
        gradient[:-1] += self.penalty * slopes
        return loss / count + 0.5 * self.penalty * slopes.square().sum(), gradient
