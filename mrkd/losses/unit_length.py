"""Rows of unit length, with a gradient that stays finite at rows of length zero."""

import torch
from torch import Tensor


def unit_length(rows: Tensor, *, dim: int = -1) -> Tensor:
    """Divide by the length along `dim`; where it is below 1e-12 the result and its gradient are zero.

    `torch.nn.functional.normalize` gives such a row a gradient of up to 1e12 times the incoming one.
    """
    length = torch.linalg.vector_norm(rows, dim=dim, keepdim=True)
    present = length > 1e-12
    return torch.where(present, rows / torch.where(present, length, 1.0), 0.0)
