"""Build dataclasses from plain values of YAML or JSON, checked against the type hints."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping
from inspect import formatannotation
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mrkd.errors import UserError, nearest

Settings = TypeVar("Settings")


class _WrongTypeError(Exception):
    """A value does not have the type; the caller adds its name to the message."""


def construct(kind: type[Settings], values: Mapping[str, Any], name: str) -> Settings:
    """Build the dataclass `kind` from plain values: lists become tuples, integers floats, mappings dataclasses.

    Args:
        kind: a dataclass whose fields are int, float, bool, str, a Literal, tuples and lists of them, dict[str, Any],
            another such dataclass, or one of these or None.
        values: values of some of its fields; a number may be a string, because PyYAML reads `1e-3` as one.
        name: prefix of its fields in error messages, such as `train`.
    Raises:
        UserError: an unknown or missing field, or a value of the wrong type or out of range.
    """
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            former = {field.metadata.get("formerly"): field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
            meant = f"it is called {former[key]} now" if key in former else nearest(str(key), hints)
            raise UserError(f"unknown setting '{name}.{key}': {meant}")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if field.name not in values and not optional:
            raise UserError(f"{name}.{field.name} must be given, got {', '.join(map(str, values)) or 'nothing'}")
    return kind(**{key: _checked(value, hints[key], f"{name}.{key}") for key, value in values.items()})


def _checked(value: Any, kind: Any, key: str) -> Any:
    _refuse_not_finite(value, key)
    try:
        return _of_type(value, kind, key)
    except _WrongTypeError:
        got = "null; leave it out for its default" if value is None else repr(value)
        raise UserError(f"{key} must be {_type_text(kind)}, got {got}") from None


def _refuse_not_finite(value: Any, key: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key} must be a finite number, got {value}")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_not_finite(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_not_finite(item, key)


def _of_type(value: Any, kind: Any, key: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        [kind] = (one for one in inner if one is not NoneType)
        return None if value is None else _of_type(value, kind, key)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(kinds) == len(value):
            return tuple(_of_type(item, one, key) for item, one in zip(value, kinds, strict=True))
    elif origin is list and isinstance(value, list | tuple):
        return [_of_type(item, inner[0], key) for item in value]
    elif origin is dict and isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item) for name, item in value.items()}
    elif origin is Literal and isinstance(value, str) and value in inner:
        return value
    elif kind in (int, float):
        return _number(value, kind)
    elif origin is None and isinstance(value, kind):
        return value
    elif dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return construct(kind, value, key)  # type: ignore[arg-type]
    raise _WrongTypeError


def _number(value: Any, kind: type[int] | type[float]) -> int | float:
    if isinstance(value, str) or type(value) is int or type(value) is kind:
        with contextlib.suppress(ValueError, OverflowError):
            number = kind(value)
            if kind is int or math.isfinite(number):
                return number
    raise _WrongTypeError


def _plain(item: Any) -> Any:
    """An option of unknown type; text such as `1e-3`, which PyYAML does not read as a number, becomes one."""
    for kind in (int, float) if isinstance(item, str) else ():
        with contextlib.suppress(_WrongTypeError):
            return _number(item, kind)
    return item


def _type_text(kind: Any) -> str:
    """The type as text without module names, such as `Literal['all', 'masked'] | None`."""
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(_type_text, get_args(kind)))
    return "None" if kind is NoneType else re.sub(r"(\w+\.)+\b", "", formatannotation(kind))
