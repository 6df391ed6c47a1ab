"""Whether the losses look at the values they are given.

A check for NaN and infinity makes the host wait for the device, once for each loss. A training loop that watches its
losses anyway may take the checks over; a loss of values that are not finite is then NaN.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

_CHECKING: ContextVar[bool] = ContextVar("mrkd_losses_checking", default=True)


@contextlib.contextmanager
def without_value_checks() -> Iterator[None]:
    """In this block, losses check shapes and options, but no values."""
    token = _CHECKING.set(False)
    try:
        yield
    finally:
        _CHECKING.reset(token)


def checks_values() -> bool:
    """Whether values are to be checked: not while compiling, nor where the caller does it."""
    return not torch.compiler.is_compiling() and _CHECKING.get()
