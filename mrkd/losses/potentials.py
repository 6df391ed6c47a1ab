"""Functions of pairs of embeddings that relations are made of. Axes: N rows, D embedding."""

import torch
from torch import Tensor


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Refuse what no relation can be computed on: wrong ranks, unequal rows, one row, non-finite values."""
    for name, tensor in (("student", student), ("teacher", teacher)):
        if tensor.ndim != 2:
            raise ValueError(f"{name} must have shape (N, D), got {tuple(tensor.shape)}")
        if not torch.compiler.is_compiling() and not tensor.detach().isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity in {tuple(tensor.shape)}")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(f"student and teacher must have the same number of rows, got {student.shape[0]} and "
                         f"{teacher.shape[0]}")
    if student.shape[0] < 2:
        raise ValueError(f"a relation needs at least 2 rows, got {student.shape[0]}")


def pairwise_distance(embeddings: Tensor) -> Tensor:
    """Euclidean distances (N, N), exactly zero on the diagonal and, with zero gradient, between duplicates.

    Args:
        embeddings: (N, D); half precision is widened to float32.
    Returns:
        (N, N) in float32, or float64 for float64 input.
    """
    embeddings = embeddings.to(torch.float64 if embeddings.dtype == torch.float64 else torch.float32)
    # Distances ignore translation; without the common vector the Gram form loses far fewer digits.
    centered = embeddings - embeddings.mean(dim=0)
    gram = centered @ centered.T
    squared_norm = gram.diagonal()
    squared = squared_norm[:, None] + squared_norm[None, :] - 2.0 * gram
    # Below rounding error two rows are the same point, and the slope of a square root there is noise.
    floor = 1e-6 if squared.dtype == torch.float32 else 1e-14
    distinct = squared > floor * squared_norm.detach().mean().clamp(min=torch.finfo(squared.dtype).tiny)
    distinct = distinct & ~torch.eye(len(squared), dtype=torch.bool, device=squared.device)
    return torch.where(distinct, squared, torch.ones_like(squared)).sqrt() * distinct
