"""Build a config from defaults, recipes, files and overrides, with error messages that name the wrong setting."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mrkd.config import Config
from mrkd.config.keys import known_keys, present_names
from mrkd.config.typed import construct
from mrkd.errors import UserError, did_you_mean, nearest

RECIPES = Path(__file__).parent.parent / "recipes"


_YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError, AttributeError, KeyError)
"""Errors of PyYAML for invalid text: its own, and ValueError or others for impossible dates and numbers."""


class _PlainLoader(yaml.SafeLoader):
    """Loads plain values only. Aliases are refused, because a few lines of them can expand to fill the memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported")
        return super().compose_node(parent, index)


def check_key(key: str) -> None:
    """Raise UserError for a dotted key that does not exist."""
    if key not in known_keys():
        raise UserError(f"unknown setting {key!r}: {nearest_setting(key)}")


def nearest_setting(name: str) -> str:
    """A hint for the unknown setting `name`: its present name, or similar ones."""
    if name in present_names():
        return f"it is called {present_names()[name]} now"
    keys, word = known_keys(), name.replace("-", "_")
    last = word.rpartition(".")[2]
    close = _similar_keys(last, keys)
    close = close or difflib.get_close_matches(word, keys, n=1, cutoff=0.7)
    if not close:
        lasts = [key.rpartition(".")[2] for key in keys]
        found = difflib.get_close_matches(last, lasts, n=1, cutoff=0.7)
        close = [key for key in keys if key.rpartition(".")[2] in found]
    return did_you_mean(close) if close else "'mrkd settings' prints all there are"


def _similar_keys(last: str, keys: Sequence[str]) -> list[str]:
    """Keys whose last part is this name or has these initials (`lr`), or else contains it as a word."""
    parts = {key: key.rpartition(".")[2].split("_") for key in keys}
    exact = [
        key
        for key, words in parts.items()
        if last == "_".join(words) or (len(words) > 1 and last == "".join(part[0] for part in words))
    ]
    return exact or [key for key, words in parts.items() if last in words]


def flatten(tree: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Turn `{"train": {"epochs": 3}}` into `{"train.epochs": 3}` and check the keys; errors name `origin`."""
    flat: dict[str, Any] = {}
    sections = [section.name for section in dataclasses.fields(Config)]
    for section, values in tree.items():
        if section not in sections:
            raise UserError(f"{origin}: unknown section {section!r}: {nearest(str(section), sections)}")
        if not isinstance(values, Mapping):
            raise UserError(f"{origin}: section {section!r} must hold settings, got {values!r}")
        for name, value in values.items():
            try:
                check_key(f"{section}.{name}")
            except UserError as error:
                raise UserError(f"{origin}: {error}") from None
            flat[f"{section}.{name}"] = value
    return flat


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; raise UserError if it is missing or invalid."""
    text = _config_text(path)
    try:
        tree = yaml.load(text, Loader=_PlainLoader)
    except _YAML_ERRORS as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold sections such as 'train:', got {type(tree).__name__}")
    return tree


def _config_text(path: Path) -> str:
    # A pipe or a device would be waited for, or read without end.
    if path.exists() and not path.is_file():
        raise UserError(f"expected a YAML file, got {'a folder' if path.is_dir() else 'a pipe or device'}: {path}")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no such config file: {path}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


_DEEPEST = 20
"""Collections inside each other."""


def read_scalars(path: Path) -> dict[str, str]:
    """The single values in a YAML file as they are written, by dotted name; nothing is checked.

    Ten times as fast as `read_yaml`, for lists of many runs.

    Raises:
        UserError: it is not valid YAML, or something else than a file.
    """
    text, found = _config_text(path), dict[str, str]()
    prefixes: list[str | None] = []  # of every open mapping; None in and below a list
    key = None
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                outer = prefixes[-1] if prefixes else None
                if outer is not None and key is None:
                    raise yaml.YAMLError("a key must be a single value")
                inner = "" if not prefixes else None if outer is None else f"{outer}{key}."
                prefixes.append(inner if isinstance(event, yaml.MappingStartEvent) else None)
                key = None
                if len(prefixes) > _DEEPEST:
                    raise yaml.YAMLError(f"more than {_DEEPEST} collections inside each other")
            elif isinstance(event, yaml.CollectionEndEvent):
                prefixes.pop()
                key = None
            elif isinstance(event, yaml.ScalarEvent) and prefixes and prefixes[-1] is not None:
                if key is None:
                    key = event.value
                else:
                    found[f"{prefixes[-1]}{key}"], key = event.value, None
    except _YAML_ERRORS as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return found


def recipe_names() -> list[str]:
    """The names of the recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe, by dotted keys."""
    if name not in recipe_names():
        raise UserError(f"unknown recipe {name!r}: {nearest(name, recipe_names())}")
    return flatten(read_yaml(RECIPES / f"{name}.yaml"), f"recipe {name}")


def build(flat: Mapping[str, Any]) -> Config:
    """Build the config from settings by dotted keys; values may be strings, as on a command line.

    Raises:
        UserError: an unknown key, or a value of the wrong type or out of range.
    """
    for key in flat:
        check_key(key)
    given = _by_section(_expand_auto_batch(flat))
    return Config(**{name: construct(kind, values, name) for name, (kind, values) in given.items()})


def with_overrides(config: Config, settings: Mapping[str, Any]) -> Config:
    """Replace settings of a config, given by dotted keys.

    Raises:
        UserError: as `build`.
    """
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return build({**flatten(to_dict(config), "config"), **plain}) if plain else config


def _by_section(flat: Mapping[str, Any]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name of each section -> its dataclass and the settings given for it."""
    return {
        section.name: (
            section.default_factory,
            {
                key.removeprefix(f"{section.name}."): _parse_value(key, value) if isinstance(value, str) else value
                for key, value in flat.items()
                if key.startswith(f"{section.name}.")
            },
        )
        for section in dataclasses.fields(Config)
    }


def _expand_auto_batch(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `train.batch: auto` by `train.auto_batch: true`; a number is left unchanged."""
    if flat.get("train.batch") != "auto":
        return dict(flat)
    return {**{key: value for key, value in flat.items() if key != "train.batch"}, "train.auto_batch": True}


def _parse_value(key: str, value: str) -> Any:
    try:
        return yaml.load(value, Loader=_PlainLoader)
    except _YAML_ERRORS:
        return value  # for example a path with a colon; types are checked later


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (old, new) for each setting that differs."""
    before, after = (flatten(to_dict(config), "config") for config in (old, new))
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def changed_only_in(sections: Sequence[str], old: Config, new: Config, verb: str) -> Config:
    """The new settings of a run that is trained already, of which only some sections can still have an effect.

    Raises:
        UserError: a setting of another section differs.
    """
    if other := [key for key in differences(old, new) if key.partition(".")[0] not in sections]:
        raise UserError(
            f"{verb} takes settings of {' and '.join(sections)}, got {', '.join(other)}: the training is over"
        )
    return new


def with_other_data(config: Config, source: str) -> Config:
    """The same settings for another source of images: all images, the same size, default columns, the test split."""
    data = dataclasses.replace(
        config.data,
        source=source,
        train_images=None,
        test_images=None,
        holdout="test",
        image_column=None,
        label_column=None,
    )
    return dataclasses.replace(config, data=data)


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain nested values for YAML and JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))
