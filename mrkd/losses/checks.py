"""Checks of a loss's arguments. Those for NaN and infinity can be switched off.

Each of these makes the host wait for the device, once per loss. A training loop that checks its losses itself may
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


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError for wrong ranks, unequal numbers of rows, a single row or values that are not finite."""
    check_shapes(student, teacher)
    check_finite(student=student, teacher=teacher)


def check_shapes(student: Tensor, teacher: Tensor) -> None:
    """As `check_pair` without the values, so that the host does not wait for the device."""
    for name, tensor in (("student", student), ("teacher", teacher)):
        if tensor.ndim not in (2, 3):
            raise ValueError(f"{name} must have shape (N, D) or (G, N, D), got {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {tensor.dtype}")
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"teacher must have as many groups and rows as student, {tuple(student.shape[:-1])}, "
            f"got {tuple(teacher.shape[:-1])}"
        )
    if student.shape[-2] < 2:
        raise ValueError(f"a relation needs at least 2 rows, got {student.shape[-2]}")
    if student.device != teacher.device:
        raise ValueError(f"teacher must be on the student's device, {student.device}, got {teacher.device}")
