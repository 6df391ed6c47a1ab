"""Declare properties of a setting at its dataclass field, beside type and default."""

from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any, TypeVar, overload

Value = TypeVar("Value")


@overload
def setting(
    default: Value,
    *,
    resumable: bool | None = None,
    equal_among_compared: bool | None = None,
    part_of_measurement: bool | None = None,
    formerly: str | None = None,
) -> Value: ...


@overload
def setting(
    *,
    default_factory: Callable[[], Value],
    resumable: bool | None = None,
    equal_among_compared: bool | None = None,
    part_of_measurement: bool | None = None,
    formerly: str | None = None,
) -> Value: ...


def setting(
    default: Any = MISSING,
    *,
    default_factory: Any = MISSING,
    resumable: bool | None = None,
    equal_among_compared: bool | None = None,
    part_of_measurement: bool | None = None,
    formerly: str | None = None,
) -> Any:
    """A dataclass field with properties, which `mrkd.config.keys` looks up.

    At a field of `Config` they apply to the whole section. A property that a field leaves out (None) is that of its
    section, or False if the section leaves it out too.

    Args:
        default: as in `dataclasses.field`.
        default_factory: as in `dataclasses.field`.
        resumable: whether it may change when a run is resumed, because it does not affect what is trained.
        equal_among_compared: whether methods in one comparison must have the same value.
        part_of_measurement: whether the results of an evaluation depend on it.
        formerly: its former dotted key (or name, for a field of a term), under which older runs stored it.
    """
    properties = {
        "resumable": resumable,
        "equal_among_compared": equal_among_compared,
        "part_of_measurement": part_of_measurement,
        "formerly": formerly,
    }
    known = {name: value for name, value in properties.items() if value is not None}
    return field(default=default, default_factory=default_factory, metadata=known)
