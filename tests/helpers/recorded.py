"""Inputs on which values of the authors' code were recorded."""

import math

import torch
from torch import Tensor


def recorded_input(rows: int, width: int, phase: float) -> Tensor:
    """(rows, width) float64 from a formula, so that no file is needed to get it again."""
    return torch.tensor(
        [
            [math.sin(1.7 * i + 0.9 * j + phase) + 0.3 * math.cos(0.5 * i * j + phase) for j in range(width)]
            for i in range(rows)
        ],
        dtype=torch.float64,
    )
