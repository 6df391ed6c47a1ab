"""How recipes, files and overrides are laid over the defaults, and what is said when one of them is wrong."""

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
"""What PyYAML raises for broken text: besides its own errors, those of dates and numbers that do not exist."""


class _PlainLoader(yaml.SafeLoader):
    """Plain values only; no aliases, with which a few lines unfold to more than a memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported")
        return super().compose_node(parent, index)


def check_key(key: str) -> None:
    """Refuse a dotted key that no section has."""
    if key not in known_keys():
        raise UserError(f"unknown setting {key!r}: {nearest_setting(key)}")


def nearest_setting(name: str) -> str:
    """What may have been meant by the unknown setting `name`, or what it is called now."""
    if name in present_names():
        return f"it is called {present_names()[name]} now"
    keys, word = known_keys(), name.replace("-", "_")
    last = word.rpartition(".")[2]
    close = _called(last, keys)
    close = close or difflib.get_close_matches(word, keys, n=1, cutoff=0.7)
    if not close:
        lasts = [key.rpartition(".")[2] for key in keys]
        found = difflib.get_close_matches(last, lasts, n=1, cutoff=0.7)
        close = [key for key in keys if key.rpartition(".")[2] in found]
    return did_you_mean(close) if close else "'mrkd settings' prints all there are"


def _called(last: str, keys: Sequence[str]) -> list[str]:
    """The keys whose part after the dot is this, or has these initials (`lr`), or else those that have it as a word."""
    parts = {key: key.rpartition(".")[2].split("_") for key in keys}
    exact = [
        key
        for key, words in parts.items()
        if last == "_".join(words) or (len(words) > 1 and last == "".join(part[0] for part in words))
    ]
    return exact or [key for key, words in parts.items() if last in words]


def flatten(tree: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """`{"train": {"epochs": 3}}` as `{"train.epochs": 3}`, every key checked; `origin` names the file in errors."""
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
    """The mapping in a YAML file, or a UserError that says what is wrong with it."""
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
    """The recipes inside the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str) -> dict[str, Any]:
    """A packaged recipe's settings, flat."""
    if name not in recipe_names():
        raise UserError(f"unknown recipe {name!r}: {nearest(name, recipe_names())}")
    return flatten(read_yaml(RECIPES / f"{name}.yaml"), f"recipe {name}")


def build(flat: Mapping[str, Any]) -> Config:
    """The typed config from flat settings; values may be strings, as typed on a command line.

    Raises:
        UserError: an unknown key, a value of the wrong type, or a value a section refuses.
    """
    for key in flat:
        check_key(key)
    given = _by_section(_spelled_out(flat))
    return Config(**{name: construct(kind, values, name) for name, (kind, values) in given.items()})


def laid_over(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with dotted settings in the place of its own.

    Raises:
        UserError: as `build`.
    """
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return build({**flatten(to_dict(config), "config"), **plain}) if plain else config


def _by_section(flat: Mapping[str, Any]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Each section's dataclass and the settings given for it."""
    return {
        section.name: (
            section.default_factory,
            {
                key.removeprefix(f"{section.name}."): _typed(key, value) if isinstance(value, str) else value
                for key, value in flat.items()
                if key.startswith(f"{section.name}.")
            },
        )
        for section in dataclasses.fields(Config)
    }


def _spelled_out(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`train.batch: auto` in the two fields that it stands for; a batch that is a number stays a number."""
    if flat.get("train.batch") != "auto":
        return dict(flat)
    return {**{key: value for key, value in flat.items() if key != "train.batch"}, "train.auto_batch": True}


def _typed(key: str, value: str) -> Any:
    try:
        return yaml.load(value, Loader=_PlainLoader)
    except _YAML_ERRORS:
        return value  # such as a path with a colon; the type check decides


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted key to the values of both, for every setting that differs."""
    before, after = (flatten(to_dict(config), "config") for config in (old, new))
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def with_other_data(config: Config, source: str) -> Config:
    """The same settings for other images: all of them, at the size the network knows, with columns found anew."""
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
    """Plain nested values, as YAML and JSON can hold them."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))
