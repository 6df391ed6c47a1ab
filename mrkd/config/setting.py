"""What a setting is besides its type and default, said at its field."""

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
    """A dataclass field about which more is known; `mrkd.config.keys` answers from it.

    At a field of `Config` it holds for the whole section. What a setting's own field leaves out (None) is as its
    section has it; where that says nothing either, it is no.

    Args:
        default: of the field.
        default_factory: makes the default, where it can be changed.
        resumable: whether it may change when a run goes on, because it does not change what is trained.
        equal_among_compared: whether methods in one comparison must share it.
        part_of_measurement: whether an evaluation's figures depend on it.
        formerly: the dotted key it had before, or the plain name for a field of a term; stored runs are read with it.
    """
    said = {
        "resumable": resumable,
        "equal_among_compared": equal_among_compared,
        "part_of_measurement": part_of_measurement,
        "formerly": formerly,
    }
    known = {name: value for name, value in said.items() if value is not None}
    return field(default=default, default_factory=default_factory, metadata=known)
