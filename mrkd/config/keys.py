"""Settings by their dotted keys, such as `train.epochs`, and what their fields say of them (see `setting`)."""

import dataclasses
from functools import cache
from typing import Any

from mrkd.config import Config


@cache
def _facts() -> dict[str, dict[str, Any]]:
    """Dotted key to what its field, or else its section, says."""
    return {
        f"{section.name}.{item.name}": {**section.metadata, **item.metadata}
        for section in dataclasses.fields(Config)
        for item in dataclasses.fields(section.default_factory)  # type: ignore[arg-type]
    }


def known_keys() -> list[str]:
    """Every dotted key of the config."""
    return list(_facts())


def may_change(key: str) -> bool:
    """Whether a run may go on with another value, because it does not change what is trained."""
    return _says(key, "resumable")


def equal_among_compared(key: str) -> bool:
    """Whether methods in one comparison must share the value."""
    return _says(key, "equal_among_compared")


def part_of_measurement(key: str) -> bool:
    """Whether an evaluation's figures depend on the value."""
    return _says(key, "part_of_measurement")


def _says(key: str, fact: str) -> bool:
    return bool(_facts().get(key, {}).get(fact, False))
