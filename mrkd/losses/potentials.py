"""Potentials: distances and similarities between two embeddings. The table `POTENTIALS` names them.

Axes: G groups, N rows, M columns, D embedding.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mrkd.losses.pairing import Pairing
from mrkd.losses.unit_length import unit_length

RBF_GAMMA = 0.4
"""Width of the RBF kernel on unit vectors, as in Peng et al. 2019."""


def _centered(rows: Tensor, valid: Tensor) -> Tensor:
    """Embeddings (G, N, D) minus the mean of the valid ones; `valid` is (G, N) bool."""
    weight = valid[..., None].to(rows.dtype)
    return rows - (rows * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp(min=1.0)


def _over_own_mean(distance: Tensor, valid: Tensor) -> Tensor:
    """Distances divided by the mean of their group's valid entries, as in RKD-D."""
    total = (distance * valid).sum(dim=(1, 2), keepdim=True)
    mean = total / valid.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return distance / torch.where(mean > 0, mean, torch.ones_like(mean))


def squared_distance(rows: Tensor, columns: Tensor) -> Tensor:
    """Squared Euclidean distances (G, N, M) of rows (G, N, D) to columns (G, M, D), zero at duplicates.

    Computed in float64, where the device has it: a float32 Gram matrix loses short distances beside long ones.
    """
    dtype = rows.dtype
    if rows.device.type != "mps":
        rows, columns = rows.double(), columns.double()
    origin = columns.detach().mean(dim=1, keepdim=True)  # cancels out; smaller numbers lose fewer digits
    rows, columns = rows - origin, columns - origin
    norms = rows.square().sum(-1)[:, :, None] + columns.square().sum(-1)[:, None, :]
    squared = norms - 2.0 * rows @ columns.mT
    floor = 1e-6 if squared.dtype == torch.float32 else 1e-14
    return torch.where(squared > floor * norms.detach(), squared, torch.zeros_like(squared)).to(dtype)


def euclidean_distance(rows: Tensor, columns: Tensor) -> Tensor:
    """Euclidean distances (G, N, M), with zero gradient at duplicates."""
    squared = squared_distance(rows, columns)
    distinct = squared > 0
    return torch.where(distinct, squared, torch.ones_like(squared)).sqrt() * distinct


def _cosine(rows: Tensor, columns: Tensor, valid: Tensor) -> Tensor:
    return unit_length(rows) @ unit_length(columns).mT


def _rbf(rows: Tensor, columns: Tensor, valid: Tensor) -> Tensor:
    # |x - y|^2 = 2 - 2 cos for unit vectors.
    return torch.exp(2.0 * RBF_GAMMA * (_cosine(rows, columns, valid) - 1.0))


def _manhattan(rows: Tensor, columns: Tensor, valid: Tensor) -> Tensor:
    return _over_own_mean(torch.cdist(rows, columns, p=1.0), valid)


PotentialFunction = Callable[[Tensor, Tensor, Tensor], Tensor]

DISTANCES = frozenset({"euclidean", "squared", "manhattan", "cosine-distance"})
"""Potentials that are distances; a softmax over them uses their negative."""

POTENTIALS: dict[str, PotentialFunction] = {
    "euclidean": lambda rows, columns, valid: _over_own_mean(euclidean_distance(rows, columns), valid),
    "squared": lambda rows, columns, valid: _over_own_mean(squared_distance(rows, columns), valid),
    "manhattan": _manhattan,
    "cosine-distance": lambda rows, columns, valid: 1.0 - _cosine(rows, columns, valid),
    "cosine": _cosine,
    "rbf": _rbf,
    "dot": lambda rows, columns, valid: rows @ columns.mT,
}
"""Name -> function from rows (G, N, D), columns (G, M, D) and valid (G, N, M) to a matrix (G, N, M).

`euclidean`, `squared` and `manhattan` are divided by their mean, which makes them ignore scale. `cosine`,
`cosine-distance` and `rbf` ignore the length of each vector; `dot` ignores rotation only."""


def relation_matrices(pairing: Pairing, potential: PotentialFunction, *, center: bool) -> tuple[Tensor, Tensor]:
    """The student's and the teacher's matrix (G, N, M); the teacher's carries no gradient.

    `center` subtracts each side's mean embedding first. An untrained network gives every image nearly the same vector;
    all cosines are then near 1, and centring makes the differences visible.
    """
    valid = pairing.valid(diagonal=False) if pairing.columns_are_rows else pairing.valid(diagonal=True)

    def matrix(rows: Tensor, columns: Tensor) -> Tensor:
        if center:
            rows, columns = _centered(rows, pairing.row_mask), _centered(columns, pairing.column_mask)
        return potential(rows, columns, valid)

    with torch.no_grad():
        teacher = matrix(pairing.teacher, pairing.teacher_columns)
    return matrix(pairing.student, pairing.student_columns), teacher
