"""Switch the losses' checks for NaN and infinity off and on.

Each such check makes the host wait for the device, once per loss. A training loop that checks its losses itself may
switch them off; a loss of values that are not finite is then NaN.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

_CHECKING: ContextVar[bool] = ContextVar("mrkd_losses_checking", default=True)


@contextlib.contextmanager
def without_value_checks() -> Iterator[None]:
    """Inside this context, losses check shapes and options but not values."""
    token = _CHECKING.set(False)
    try:
        yield
    finally:
        _CHECKING.reset(token)


def checks_values() -> bool:
    """Whether losses check values: not under torch.compile, nor inside `without_value_checks`."""
    return not torch.compiler.is_compiling() and _CHECKING.get()


def check_finite(**tensors: Tensor) -> None:
    """Raise ValueError for NaN and infinity, unless such checks are off; the name of a tensor is for the message."""
    for name, tensor in tensors.items():
        if checks_values() and not tensor.detach().isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity in {tuple(tensor.shape)}")
