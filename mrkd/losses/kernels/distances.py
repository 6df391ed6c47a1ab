"""Distances between embeddings, and the gradient from distances back to embeddings; RKD-D and RKD-A use both.

A distance goes from a row to an end: another row, or an anchor. Axes: G groups, N rows, M ends, D embedding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mrkd.losses.kernels.precision import add_product, full_matmul, gram_dtype, wide_dtype

_PIECE_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Number of entries of the embeddings that are centred at once: 1 MB on the CPU, 128 MB on a GPU."""
_NEAR = 1e-4
"""Squared distance, relative to the scale, below which a float32 Gram matrix has lost too many digits: two per mille
of a cosine between two such edges. A group of rows with a pair as near as that is computed again in float64."""


def pairwise_distance(embeddings: Tensor) -> Tensor:
    """Euclidean distances between rows.

    Args:
        embeddings: (N, D) or (G, N, D); half precision is widened to float32.
    Returns:
        (N, N) or (G, N, N), float32 or float64, exactly zero at duplicates. Carries no gradient.
    """
    with torch.no_grad():
        grouped = embeddings if embeddings.ndim == 3 else embeddings[None]
        weights = torch.full_like(grouped[..., 0], 1.0 / grouped.shape[1], dtype=wide_dtype(grouped))
        squared, scale = squared_distances(WeightedEmbeddings(grouped, weights, None, masked=False))
        return squared.mul_(scale[:, None, None]).sqrt_().view(*embeddings.shape[:-1], embeddings.shape[-2])


@dataclass(frozen=True)
class WeightedEmbeddings:
    """Embeddings with row weights and optional anchors.

    `pieces` centres some columns at a time, so that no centred copy of all embeddings is held.
    """

    embeddings: Tensor
    """(G, N, D)."""
    weights: Tensor
    """(G, N) row weights, which sum to 1 or are all zero; results have their dtype."""
    anchors: Tensor | None
    """(G, M, D), the ends; None when the rows are the ends."""
    masked: bool
    """Whether some weights may be zero; such rows may hold any values, even NaN."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, N, M) of the distance matrix."""
        groups, rows, _ = self.embeddings.shape
        return groups, rows, rows if self.anchors is None else self.anchors.shape[1]

    def only(self, groups: Tensor) -> "WeightedEmbeddings":
        """The groups of these numbers."""
        anchors = None if self.anchors is None else self.anchors[groups]
        return replace(self, embeddings=self.embeddings[groups], weights=self.weights[groups], anchors=anchors)

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """For P columns at a time: the columns, and rows (G, N, P) and ends (G, M, P) minus the mean of the ends."""
        hidden = (self.weights <= 0)[..., None] if self.masked else None
        groups, count, width = self.embeddings.shape
        piece = max(384, _PIECE_ELEMENTS.get(self.embeddings.device.type, 1 << 22) // (groups * count))
        for start in range(0, width, piece):
            columns = slice(start, min(start + piece, width))
            rows = self.embeddings[..., columns]
            rows = (rows if hidden is None else rows.masked_fill(hidden, 0.0)).to(dtype)
            if self.anchors is None:
                ends = rows = rows - full_matmul(self.weights[:, None].to(dtype), rows)
            else:
                ends = self.anchors[..., columns].to(rows.dtype)
                center = ends.mean(dim=1, keepdim=True)
                rows, ends = rows - center, ends - center
            yield columns, rows, ends


@dataclass(frozen=True)
class Stripe:
    """Some rows of a distance matrix (G, N, M).

    Without anchors the matrix is symmetric. A stripe then starts at the diagonal, because the columns before it are the
    transpose of earlier stripes; all stripes together hold little more than half of the matrix.
    """

    rows: slice
    columns: slice
    entries: Tensor
    """(G, J, K), the entries at those J rows and K columns."""
    mirrored: int
    """Index of the first column whose entries also stand for their transposes; K if none do."""

    def weights(self, ends: Tensor) -> Tensor:
        """The end weights (G, M) at this stripe's columns (G, K), doubled where entries also stand for transposes."""
        counted = ends[:, self.columns].clone()
        counted[:, self.mirrored :] *= 2.0
        return counted


def stripes_size(shape: tuple[int, int, int], stripe_rows: int, *, square: bool) -> int:
    """Number of entries in the stripes of a (G, N, M) matrix."""
    groups, rows, columns = shape
    return groups * sum(
        (min(first + stripe_rows, rows) - first) * (columns - first * square) for first in range(0, rows, stripe_rows)
    )


def cut_into_stripes(flat: Tensor, shape: tuple[int, int, int], stripe_rows: int, *, square: bool) -> list[Stripe]:
    """The stripes of a (G, N, M) matrix, as views of `flat`, which holds them one after another."""
    groups, rows, columns = shape
    stripes, start = [], 0
    for first in range(0, rows, stripe_rows):
        own = slice(first, min(first + stripe_rows, rows))
        own_columns = slice(first if square else 0, columns)
        size = (groups, own.stop - first, columns - own_columns.start)
        entries = flat[start : start + math.prod(size)].view(size)
        stripes.append(Stripe(own, own_columns, entries, size[1] if square else columns))
        start += entries.numel()
    return stripes


def squared_distances(inputs: WeightedEmbeddings) -> tuple[Tensor, Tensor]:
    """Squared distances of rows to each other or to anchors, from a Gram matrix, without an N x M x D tensor.

    The embeddings are centred first: distances ignore translation, and the Gram form then loses far fewer digits. The
    results are divided by the mean squared norm, so that they are near 1 and rounding errors have a known size.

    Returns:
        (G, N, M) squared distances divided by the scale, exactly zero where two points coincide; (G,) the scale.
    """
    flat, scale = squared_distance_stripes(inputs, inputs.embeddings.shape[1])
    return flat.view(inputs.shape), scale


def squared_distance_stripes(inputs: WeightedEmbeddings, stripe_rows: int) -> tuple[Tensor, Tensor]:
    """As `squared_distances`, in the flat form of `cut_into_stripes`: each pair of points is in one stripe only."""
    weights, square = inputs.weights, inputs.anchors is None
    dtype = gram_dtype(weights)
    flat, scale, nearest = _gram_stripes(inputs, stripe_rows, dtype)
    if _may_lose_digits(dtype, weights.device):
        near = (nearest < _NEAR).nonzero().flatten()
        if len(near):
            exact, exact_scale, _ = _gram_stripes(inputs.only(near), stripe_rows, torch.float64)
            exact_shape = (len(near), *inputs.shape[1:])
            for stripe, repaired in zip(
                cut_into_stripes(flat, inputs.shape, stripe_rows, square=square),
                cut_into_stripes(exact, exact_shape, stripe_rows, square=square),
                strict=True,
            ):
                stripe.entries[near] = repaired.entries.to(dtype)
            scale[near] = exact_scale.to(dtype)
    return flat.to(weights.dtype), scale.to(weights.dtype)


def _may_lose_digits(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether near pairs need a second computation; a GPU uses float64 at once, and MPS has no float64."""
    return dtype == torch.float32 and device.type == "cpu"


def _gram_stripes(inputs: WeightedEmbeddings, stripe_rows: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """As `squared_distance_stripes`, in one precision; and (G,) the smallest squared distance, if digits may be lost.

    A group whose smallest squared distance is below `_NEAR` is then still to be computed again.
    """
    square = inputs.anchors is None
    groups, count, others = inputs.shape
    weights = inputs.weights
    flat = torch.zeros(stripes_size(inputs.shape, stripe_rows, square=square), dtype=dtype, device=weights.device)
    stripes = cut_into_stripes(flat, inputs.shape, stripe_rows, square=square)
    row_norm, end_norm = flat.new_zeros(groups, count), flat.new_zeros(groups, others)
    for _, points, ends in inputs.pieces(dtype):
        for stripe in stripes:
            add_product(stripe.entries, points[:, stripe.rows], ends[:, stripe.columns].mT)
        if not square:
            row_norm += points.square().sum(dim=2)
            end_norm += ends.square().sum(dim=2)
    if square:
        for stripe in stripes:
            row_norm[:, stripe.rows] = stripe.entries.diagonal(dim1=1, dim2=2)
        end_norm = row_norm
    scale = (row_norm * weights).sum(dim=1)
    if not square:
        scale = scale + end_norm.mean(dim=1)
    inverse = inverse_scale(scale)[:, None]
    row_norm, end_norm = row_norm * inverse, end_norm * inverse
    nearest = flat.new_full((groups,), torch.inf)
    may_lose_digits = _may_lose_digits(dtype, weights.device)
    for stripe in stripes:
        squared = stripe.entries.mul_(-2.0 * inverse[..., None]).add_(row_norm[:, stripe.rows, None])
        squared.add_(end_norm[:, None, stripe.columns])
        if may_lose_digits:
            if square:
                squared.diagonal(dim1=1, dim2=2).fill_(torch.inf)
            nearest = torch.minimum(nearest, _smallest(squared, stripe, inputs))
        if inputs.masked or not may_lose_digits:
            # Points this close count as equal: below this distance the gradient of the root is rounding noise.
            torch.threshold_(squared, 1e-6 if dtype == torch.float32 else 1e-14, 0.0)
        if square:
            squared.diagonal(dim1=1, dim2=2).zero_()
    return flat, scale, nearest


def _smallest(squared: Tensor, stripe: Stripe, inputs: WeightedEmbeddings) -> Tensor:
    """(G,) the smallest entry of a stripe (G, J, K) between rows with a weight."""
    smallest = squared.amin(dim=(1, 2))
    if inputs.masked and bool((smallest < _NEAR).any()):  # rows without a weight all lie at one point
        hidden = inputs.weights <= 0
        squared = squared.masked_fill(hidden[:, stripe.rows, None], torch.inf)
        if inputs.anchors is None:
            squared = squared.masked_fill(hidden[:, None, stripe.columns], torch.inf)
        smallest = squared.amin(dim=(1, 2))
    return smallest


def inverse_scale(scale: Tensor) -> Tensor:
    """1 / scale, or zero where all rows are equal, so that value and gradient are zero there."""
    positive = scale > torch.finfo(torch.float32).tiny
    return torch.where(positive, 1.0 / torch.where(positive, scale, 1.0), 0.0)


def embedding_gradient(inputs: WeightedEmbeddings, stripes: list[Stripe], factor: Tensor) -> Tensor:
    """Gradient (G, N, D) of the embeddings x: factor times the sum over ends e_m of B_nm (x_n - e_m).

    Args:
        inputs: the student's.
        stripes: B = (dL / dd) / d for unordered pairs, (G, N, M); not changed.
        factor: (G,).
    """
    weights = inputs.weights
    row_sum = torch.zeros_like(weights)
    for stripe in stripes:
        row_sum[:, stripe.rows] += stripe.entries.sum(dim=2)
        row_sum[:, stripe.columns][:, stripe.mirrored :] += stripe.entries[..., stripe.mirrored :].sum(dim=1)
    gradient = torch.empty(inputs.embeddings.shape, dtype=weights.dtype, device=weights.device)
    for columns, rows, ends in inputs.pieces(gram_dtype(weights)):
        rows.mul_(factor[:, None, None])
        if ends is not rows:
            ends.mul_(factor[:, None, None])
        piece = gradient[..., columns]
        torch.mul(rows, row_sum[..., None], out=piece)
        for stripe in stripes:
            add_product(piece[:, stripe.rows], stripe.entries, ends[:, stripe.columns], factor=-1)
            mirrored = stripe.entries[..., stripe.mirrored :]
            if mirrored.shape[2]:
                of_ends = piece[:, stripe.columns][:, stripe.mirrored :]
                add_product(of_ends, mirrored.mT, ends[:, stripe.rows], factor=-1)
    return gradient
