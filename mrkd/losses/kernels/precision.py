"""In which precision products and sums are computed, whatever the user's settings for float32 say."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def widened(embeddings: Tensor) -> Tensor:
    """Half precision converted to float32; float32 and float64 unchanged."""
    return embeddings.to(wide_dtype(embeddings))


def wide_dtype(embeddings: Tensor) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if embeddings.dtype == torch.float64 else torch.float32


def sum_dtype(device: torch.device) -> torch.dtype:
    """In which long sums are kept: float64 where the device has it, which Apple's GPUs have not."""
    return torch.float32 if device.type == "mps" else torch.float64


def gram_dtype(weights: Tensor) -> torch.dtype:
    """float64 on CUDA, which is cheap here and independent of TF32 settings; elsewhere the weights' dtype."""
    return torch.float64 if weights.is_cuda else weights.dtype


def full_matmul(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product in full precision, whatever autocast and the settings for float32 products say."""
    if left.is_cuda:
        return left.double() @ right.double()
    with _full_float32(left):
        return left @ right


def add_product(total: Tensor, left: Tensor, right: Tensor, *, factor: int = 1) -> None:
    """total += factor * left @ right in full precision, as `full_matmul`; `total` may be a view."""
    if left.is_cuda:
        total.add_(left.double() @ right.double(), alpha=factor)
        return
    with _full_float32(left):
        total.baddbmm_(left, right, alpha=factor)


@contextmanager
def _full_float32(tensor: Tensor) -> Iterator[None]:
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    if tensor.device.type != "cpu" or before in ("none", "ieee"):
        yield
        return
    settings.fp32_precision = "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before
