"""What a sweep may change: for each dotted setting a range of numbers or a list of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mrkd.config import Config
from mrkd.config.keys import equal_among_compared
from mrkd.config.overrides import check_key, flatten, read_yaml, to_dict, with_overrides
from mrkd.errors import UserError

_FORMS = "KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=VALUE,VALUE,..."


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included."""

    low: float
    high: float
    log: bool = False
    """Equal factors are equally likely, instead of equal steps."""
    whole: bool = False
    """Only whole numbers; `check_space` knows for which settings."""

    def holds(self, value: Any) -> bool:
        """Whether the value could be drawn."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """One of several values of any kind."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether the value could be drawn."""
        return value in self.values

    def __str__(self) -> str:
        return ",".join(str(value) for value in self.values)


Space = Mapping[str, Range | Choice]


def parse_space(words: Sequence[str]) -> dict[str, Range | Choice]:
    """`optim.learning_rate=0.001..0.01:log` and `optim.ema=0.9,0.95`, each a string.

    Raises:
        UserError: another form, an unknown setting, a setting named twice, or an empty range.
    """
    space: dict[str, Range | Choice] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not text:
            raise UserError(f"expected {_FORMS}, got {word!r}")
        check_key(key)
        if key in space:
            raise UserError(f"{key} is varied twice")
        space[key] = _parse(key, text)
    return space


def _parse(key: str, text: str) -> Range | Choice:
    if ".." not in text:
        try:
            return _choice(key, yaml.safe_load(f"[{text}]"))
        except yaml.YAMLError:
            raise UserError(f"{key}: expected values separated by commas, got {text!r}") from None
    spread, colon, scale = text.partition(":")
    low, _, high = spread.partition("..")
    if colon and scale != "log":
        raise UserError(f"{key}: expected {_FORMS}, got {text!r}")
    return _range(key, _number(key, low), _number(key, high), log=bool(colon))


def _number(key: str, text: str) -> float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{key}: the ends of a range must be numbers, got {text!r}") from None


def _range(key: str, low: float, high: float, *, log: bool) -> Range:
    if not low < high:
        raise UserError(f"{key}: a range needs low < high, got {low} and {high}")
    if log and low <= 0:
        raise UserError(f"{key}: a range by factors must begin above 0, got {low}")
    return Range(low, high, log)


def _choice(key: str, values: list[Any]) -> Choice:
    # A list has no hash and is as good a setting as its tuple.
    values = [tuple(value) if isinstance(value, list) else value for value in values]
    if len(values) < 2:
        hint = f"{_FORMS}, got {key}={values[0]}" if values else _FORMS
        raise UserError(f"{key}: a choice needs at least 2 values: {hint}")
    return Choice(tuple(values))


def read_space(path: str | Path) -> dict[str, Range | Choice]:
    """A YAML file of sections; each setting holds a list of values, or `{low: , high: , log: }`.

    Raises:
        UserError: no such file, other content, or an unknown setting.
    """
    space: dict[str, Range | Choice] = {}
    for key, value in flatten(read_yaml(Path(path)), str(path)).items():
        if isinstance(value, list):
            space[key] = _choice(key, value)
        elif isinstance(value, dict) and {"low", "high"} <= set(value) <= {"low", "high", "log"}:
            # YAML takes 1e-4 for a word.
            low, high = (_number(f"{path}: {key}", str(value[end])) for end in ("low", "high"))
            space[key] = _range(key, low, high, log=bool(value.get("log", False)))
        else:
            raise UserError(f"{path}: {key} must hold a list of values or {{low: , high: , log: }}, got {value!r}")
    return space


def check_space(space: Space, config: Config) -> dict[str, Range | Choice]:
    """The same with values of the settings' own types.

    Raises:
        UserError: nothing varies, or the config does not take an end of a range or a value.
    """
    if not space:
        raise UserError("nothing to vary: give --space FILE or --vary KEY=LOW..HIGH")
    typed: dict[str, Range | Choice] = {}
    for key, varied in space.items():
        if key in ("objective.method", "train.seed"):
            raise UserError(f"{key} is not for tuning: give --methods and --seed")
        if equal_among_compared(key):
            raise UserError(f"{key} is not for tuning: methods are compared on the same images, batch and length")
        ends = varied.values if isinstance(varied, Choice) else (varied.low, varied.high)
        values = tuple(_as_set(config, key, end) for end in ends)
        if isinstance(varied, Choice):
            typed[key] = Choice(values)
        else:
            typed[key] = replace(varied, whole=all(isinstance(value, int) for value in values))
    return typed


def _as_set(config: Config, key: str, value: Any) -> Any:
    """The value as the config holds it; lists as tuples, which can be compared."""
    held = flatten(to_dict(with_overrides(config, {key: value})), "config")[key]
    return tuple(held) if isinstance(held, list) else held
