"""Small tensors from the host to the device, without waiting for it."""

from functools import cache

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. On CUDA through pinned memory: an ordinary copy waits for all work before it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """These numbers as a float32 tensor (len(values),), copied to the device once; nobody may write to it."""
    return torch.tensor(values, device=device)
