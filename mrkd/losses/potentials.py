"""Functions of pairs of embeddings that relations are made of. Axes: G groups, N rows, D embedding."""

import torch
from torch import Tensor


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Refuse what no relation can be computed on: wrong ranks, unequal rows, one row, non-finite values."""
    for name, tensor in (("student", student), ("teacher", teacher)):
        if tensor.ndim not in (2, 3):
            raise ValueError(f"{name} must have shape (N, D) or (G, N, D), got {tuple(tensor.shape)}")
        if not torch.compiler.is_compiling() and not tensor.detach().isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity in {tuple(tensor.shape)}")
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"teacher must have as many groups and rows as student, {tuple(student.shape[:-1])}, "
            f"got {tuple(teacher.shape[:-1])}"
        )
    if student.shape[-2] < 2:
        raise ValueError(f"a relation needs at least 2 rows, got {student.shape[-2]}")


def widened(embeddings: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay."""
    return embeddings.to(torch.float64 if embeddings.dtype == torch.float64 else torch.float32)


def centered_gram(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (..., N, D) minus their mean row, and their Gram matrix (..., N, N).

    Relations ignore translation, and without the common vector the Gram form loses far fewer digits.
    """
    embeddings = widened(embeddings)
    centered = embeddings - embeddings.mean(dim=-2, keepdim=True)
    return centered, centered @ centered.mT


def distance_from_gram(gram: Tensor) -> Tensor:
    """Euclidean distances (..., N, N) from a centred Gram matrix, exactly zero, with zero gradient, at duplicates."""
    squared_norm = gram.diagonal(dim1=-2, dim2=-1)
    squared = squared_norm[..., :, None] + squared_norm[..., None, :] - 2.0 * gram
    # Below rounding error two rows are the same point, and the slope of a square root there is noise.
    floor = 1e-6 if squared.dtype == torch.float32 else 1e-14
    scale = squared_norm.detach().mean(dim=-1).clamp(min=torch.finfo(squared.dtype).tiny)
    diagonal = torch.eye(gram.shape[-1], dtype=torch.bool, device=gram.device)
    distinct = (squared > floor * scale[..., None, None]) & ~diagonal
    return torch.where(distinct, squared, torch.ones_like(squared)).sqrt() * distinct


def pairwise_distance(embeddings: Tensor) -> Tensor:
    """Euclidean distances between rows.

    Args:
        embeddings: (N, D) or (G, N, D); half precision is widened to float32.
    Returns:
        (N, N) or (G, N, N), float32 or float64.
    """
    return distance_from_gram(centered_gram(embeddings)[1])
