"""What settings are checked with."""

from mrkd.errors import UserError


def require(condition: bool, message: str) -> None:
    """Refuse a setting, with the message as a UserError, unless the condition holds."""
    if not condition:
        raise UserError(message)


def check_fraction(name: str, value: float) -> None:
    """Refuse a value of the setting `name` outside [0, 1], with a UserError."""
    require(0.0 <= value <= 1.0, f"{name} must be a fraction in [0, 1], got {value}")
