"""Copy small tensors from the host to the device without waiting for the device."""

from functools import cache

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. On CUDA, pinned memory is used, because an ordinary copy waits for all earlier work."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """These numbers as a float32 tensor (len(values),), copied to the device once; it must not be changed."""
    return torch.tensor(values, device=device)
