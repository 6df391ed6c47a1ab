"""What settings are checked with."""

from typing import Any

from mrkd.errors import UserError

SEEDS = 2**32
"""Seeds are below this: the most that numpy and scikit-learn take."""


def require(condition: bool, message: str) -> None:
    """Refuse a setting, with the message as a UserError, unless the condition holds."""
    if not condition:
        raise UserError(message)


def check_fraction(name: str, value: float) -> None:
    """Refuse a value of the setting `name` outside [0, 1], with a UserError."""
    require(0.0 <= value <= 1.0, f"{name} must be a fraction in [0, 1], got {value}")


def check_span(name: str, span: tuple[float, float], most: float | None = None) -> None:
    """Refuse two bounds of the setting `name` that are not above 0, in order, and at most `most`, with a UserError."""
    low, high = span
    limit = "" if most is None else f" <= {most:g}"
    good = 0 < low <= high and (most is None or high <= most)
    require(good, f"{name} must satisfy 0 < low <= high{limit}, got ({low}, {high})")


def check_least(least: int, section: str, settings: Any, *names: str) -> None:
    """Refuse a value of these fields below `least`, with a UserError; null is none."""
    for name in names:
        value = getattr(settings, name)
        limit = f"at least {least}" if least else "0 or more"
        require(value is None or value >= least, f"{section}.{name} must be {limit}, got {value}")


def check_positive(section: str, settings: Any, *names: str) -> None:
    """Refuse a value of these fields that is 0 or less, with a UserError; null is none."""
    for name in names:
        value = getattr(settings, name)
        require(value is None or value > 0, f"{section}.{name} must be positive, got {value}")


def check_seed(name: str, value: int) -> None:
    """Refuse what numpy's generators do not take for a seed, with a UserError."""
    require(0 <= value < SEEDS, f"{name} must be 0 or more and below 2^32, got {value}")
