"""LeJEPA: equal embeddings of all views of an image, whose distribution over images is a standard Gaussian.

Axes: V views, B images, E embedding, S directions, T knots.
"""

import torch
from torch import Tensor

from mrkd.losses.checks import check_finite
from mrkd.losses.kernels.precision import widened


def lejepa(
    views: Tensor,
    local_views: Tensor | None,
    generator: torch.Generator,
    *,
    regularization: float = 0.05,
    directions: int = 256,
    knots: int = 17,
    reach: float = 3.0,
) -> Tensor:
    """LeJEPA's sum: mean squared difference of each view to the mean of the global ones, and SIGReg of each view.

    There is no teacher: gradients flow through all views.

    Args:
        views: (V, B, E) embeddings of the global views, not normalised.
        local_views: (V_local, B, E) of the local crops, or None.
        generator: on the embeddings' device; draws the directions, so give all processes the same state.
        regularization: the weight lambda of SIGReg; the squared difference has the weight 1 - lambda.
        directions: as in `sigreg`.
        knots: as in `sigreg`.
        reach: as in `sigreg`.
    Returns:
        Scalar >= 0; float64 for float64, else float32.
    Raises:
        ValueError: wrong shapes, fewer than two images or views, a value that is not finite, or an option out of range.
    Source:
        Balestriero and LeCun, LeJEPA, 2025 (arXiv:2511.08544), section 5; the weights and the mean over entries are
        those of the authors' MINIMAL.md.
    """
    if views.ndim != 3 or (local_views is not None and local_views.shape[1:] != views.shape[1:]):
        local = "" if local_views is None else f" and {tuple(local_views.shape)}"
        raise ValueError(f"views must have shape (V, B, E), equal but for V, got {tuple(views.shape)}{local}")
    if not 0.0 <= regularization <= 1.0:
        raise ValueError(f"regularization must be in [0, 1], got {regularization}")
    together = views if local_views is None else torch.cat([views, local_views])
    if len(together) < 2:
        raise ValueError("views must be at least two, got one")
    with torch.autocast(views.device.type, enabled=False):
        together = widened(together)
        difference = (together - together[: len(views)].mean(dim=0)).square().mean()
        isotropy = sigreg(together, generator, directions=directions, knots=knots, reach=reach)
        return (1.0 - regularization) * difference + regularization * isotropy


def sigreg(
    views: Tensor, generator: torch.Generator, *, directions: int = 256, knots: int = 17, reach: float = 3.0
) -> Tensor:
    """Sketched isotropic Gaussian regularization: Epps and Pulley's test statistic along random directions.

    Along a direction, the statistic is B times the integral of the squared difference between the characteristic
    functions of the B projections and of a standard normal variable, with the latter as weight. It is the mean over
    views and directions.

    Args:
        views: (V, B, E) or (B, E) embeddings; each view is a sample of its own.
        generator: on the embeddings' device; draws the directions, uniformly on the sphere.
        directions: number of directions S, drawn anew at each call.
        knots: number of points T of the trapezoidal rule on [0, reach], which symmetry doubles.
        reach: the largest frequency.
    Returns:
        Scalar >= 0; about 1 for a standard normal sample of any size.
    Raises:
        ValueError: fewer than two rows, a value that is not finite, or an option out of range.
    Source:
        Balestriero and LeCun, LeJEPA, 2025 (arXiv:2511.08544), section 4; Epps and Pulley, A test for normality based
        on the empirical characteristic function, Biometrika 1983.
    """
    if views.ndim not in (2, 3) or views.shape[-2] < 2:
        raise ValueError(f"views must have shape (V, B, E) or (B, E) with B >= 2, got {tuple(views.shape)}")
    if directions < 1 or knots < 2 or reach <= 0:
        raise ValueError(
            f"directions must be >= 1, knots >= 2 and reach positive, got {directions}, {knots} and {reach}"
        )
    check_finite(views=views)
    with torch.autocast(views.device.type, enabled=False):
        rows = widened(views)
        shape = (rows.shape[-1], directions)
        sketch = torch.randn(shape, generator=generator, dtype=rows.dtype, device=rows.device)
        projections = rows @ (sketch / sketch.norm(dim=0))  # (V, B, S)
        frequency = torch.linspace(0.0, reach, knots, dtype=rows.dtype, device=rows.device)
        normal = torch.exp(-0.5 * frequency.square())
        phase = projections[..., None] * frequency  # (V, B, S, T)
        distance = (phase.cos().mean(dim=-3) - normal).square() + phase.sin().mean(dim=-3).square()
        integral = 2.0 * torch.trapezoid(distance * normal, frequency, dim=-1)  # (V, S)
        return rows.shape[-2] * integral.mean()
