"""Checks of values of settings; each raises UserError."""

from typing import Any

from mrkd.errors import UserError

SEEDS = 2**32
"""Seeds must be below this limit of numpy and scikit-learn."""


def require(condition: bool, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


def check_fraction(name: str, value: float) -> None:
    """Raise UserError unless the value of the setting `name` is in [0, 1]."""
    require(0.0 <= value <= 1.0, f"{name} must be a fraction in [0, 1], got {value}")


def check_span(name: str, span: tuple[float, float], most: float | None = None) -> None:
    """Raise UserError unless the two bounds of the setting `name` satisfy 0 < low <= high <= `most`."""
    low, high = span
    limit = "" if most is None else f" <= {most:g}"
    good = 0 < low <= high and (most is None or high <= most)
    require(good, f"{name} must satisfy 0 < low <= high{limit}, got ({low}, {high})")


def check_least(least: int, section: str, settings: Any, *names: str) -> None:
    """Raise UserError if one of these fields is below `least`; null is accepted."""
    for name in names:
        value = getattr(settings, name)
        limit = f"at least {least}" if least else "0 or more"
        require(value is None or value >= least, f"{section}.{name} must be {limit}, got {value}")


def check_positive(section: str, settings: Any, *names: str) -> None:
    """Raise UserError if one of these fields is 0 or less; null is accepted."""
    for name in names:
        value = getattr(settings, name)
        require(value is None or value > 0, f"{section}.{name} must be positive, got {value}")


def check_seed(name: str, value: int) -> None:
    """Raise UserError unless numpy's generators accept the value as a seed."""
    require(0 <= value < SEEDS, f"{name} must be 0 or more and below 2^32, got {value}")
