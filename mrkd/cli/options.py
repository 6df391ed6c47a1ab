"""Options for settings: shorthands such as `--data`, `--section.field`, and the config built from them."""

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrkd.config import Config
from mrkd.config.keys import known_keys
from mrkd.config.overrides import (
    build,
    changed_only_in,
    check_key,
    flatten,
    load_recipe,
    nearest_setting,
    read_yaml,
    recipe_names,
    to_dict,
    with_other_data,
)
from mrkd.errors import UserError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Shorthand:
    """A short option for a setting."""

    option: str
    key: str
    """Dotted key of the setting."""
    help: str
    one_run: bool = False
    """Whether it is only for verbs about a single run; `compare` sets these itself."""


SHORTHANDS = (
    Shorthand(
        option="--data",
        key="data.source",
        help="digits, a folder, a parquet, tar or CSV file, or hub:owner/name",
    ),
    Shorthand(option="--size", key="data.size", help="side of the images in pixels, such as 96 or 224"),
    Shorthand(option="--patch", key="model.patch", help="side of a patch in pixels; with --model, what its name says"),
    Shorthand(
        option="--weights", key="model.weights", help="initial weights: a file of a timm ViT, a run, or an export"
    ),
    Shorthand(
        option="--model",
        key="model.name",
        help="a timm ViT such as vit_small_patch16_224; null to use model.width and others",
    ),
    Shorthand(
        option="--teacher", key="teacher.source", help="a frozen teacher: a run, a file of weights or a timm model"
    ),
    Shorthand(
        option="--method",
        key="objective.method",
        help="a name from 'mrkd methods', or several joined by +",
        one_run=True,
    ),
    Shorthand(option="--seed", key="train.seed", help="seed of weights, data order, views and masks", one_run=True),
    Shorthand(option="--logger", key="train.logger", help="also log to wandb or mlflow"),
    Shorthand(option="--batch-size", key="train.batch", help="images per step, or auto"),
    Shorthand(option="--epochs", key="train.epochs", help="number of passes over the images"),
    Shorthand(option="--minutes", key="train.minutes", help="minutes for the whole training; sets the number of steps"),
    Shorthand(option="--devices", key="train.devices", help="number of devices, or of processes on a CPU"),
    Shorthand(option="--precision", key="train.precision", help="auto (default), 32-true or bf16-mixed"),
    Shorthand(
        option="--on-nonfinite",
        key="train.on_nonfinite",
        help="stop (default), or skip steps with NaN or infinity",
    ),
    Shorthand(option="--on-collapse", key="train.on_collapse", help="warn (default), or stop if features collapse"),
)


def load_config(recipe: str | None = None, file: str | os.PathLike[str] | None = None, **overrides: Any) -> Config:
    """Build a config from a recipe, a YAML file and overrides; later ones take precedence.

    Overrides have the names of the short options, or two underscores for the dot:
    `load_config("quick", epochs=3, train__log_steps=10)`.

    Raises:
        UserError: an unknown recipe or setting, or a value of the wrong type.
    """
    return build(_merged_settings(recipe, file, _dotted(overrides)))


def changed_config(config: Config, **overrides: Any) -> Config:
    """The config with other values of some settings, named as for `load_config`.

    Raises:
        UserError: an unknown setting, or a value of the wrong type.
    """
    return build(_with_precedence(flatten(to_dict(config), "config"), _dotted(overrides)))


_KEYWORDS = {shorthand.option.removeprefix("--").replace("-", "_"): shorthand.key for shorthand in SHORTHANDS}
"""Name of a keyword, such as `batch_size` -> key of its setting."""


def _dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of Python as dotted keys, paths as text."""
    dotted: dict[str, Any] = {}
    for name, value in overrides.items():
        key = _KEYWORDS.get(name, name.replace("__", ".", 1))
        if "." not in key and (close := difflib.get_close_matches(name, _KEYWORDS, n=1, cutoff=0.8)):
            raise UserError(f"unknown setting {name!r}: {did_you_mean(close)}")
        check_key(key)
        if key in dotted:
            raise UserError(f"{key} is given twice, the second time as {name}={value!r}: leave out one of them")
        dotted[key] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return dotted


def _merged_settings(
    recipe: str | None, file: str | os.PathLike[str] | None, overrides: dict[str, Any]
) -> dict[str, Any]:
    flat = {} if recipe is None else load_recipe(recipe)
    if file is not None:
        flat.update(flatten(read_yaml(Path(file)), str(file)))
    for key in overrides:
        check_key(key)
    return _with_precedence(flat, overrides)


LENGTHS = ("train.epochs", "train.steps", "train.minutes")
"""Settings for the length of a run; only one may be given."""


def _with_precedence(flat: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Combine settings with typed overrides; a typed length or batch replaces other forms of it in `flat`."""
    typed = [key for key in LENGTHS if overrides.get(key) not in (None, "null", "~")]
    if len(typed) > 1:
        raise UserError(f"a run has one length, got {' and '.join(typed)}: leave out all but one")
    meant: dict[str, Any] = {}
    if "train.batch" in overrides:
        meant["train.auto_batch"] = False
    if typed:
        meant.update(dict.fromkeys(("train.steps", "train.minutes")))
    return {**flat, **meant, **overrides}


def parse_overrides(words: Sequence[str], options: Sequence[str] = ()) -> dict[str, str]:
    """Parse `--train.epochs 20 --train.batch=64` to `{"train.epochs": "20", "train.batch": "64"}`.

    Args:
        words: words of the command line that are no options of the verb.
        options: the options of the verb, such as `--epochs`, for hints about an unknown one.
    Raises:
        UserError: an unknown setting, a setting without a value, or a word that is no option.
    """
    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise UserError(f"unexpected argument {token!r}")
        key, equals, value = token[2:].partition("=")
        if key not in known_keys():
            raise UserError(f"unknown setting {key!r}: {_hint(key, options)}")
        if not equals:
            if not rest:
                raise UserError(f"--{key} needs a value")
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def _hint(key: str, options: Sequence[str]) -> str:
    """A hint for an unknown option: a similar option, or the setting for which it is a shorthand in other verbs."""
    close = difflib.get_close_matches(f"--{key}", options, n=1, cutoff=0.8) or [
        shorthand.key
        for shorthand in SHORTHANDS
        if shorthand.option == f"--{key}" and not shorthand.key.endswith(f".{key}")
    ]
    return did_you_mean(close) if close else nearest_setting(key)


def add_settings_options(parser: argparse.ArgumentParser, *, one_run: bool = True) -> None:
    """Add `--recipe`, `--config` and the shorthands."""
    parser.add_argument(
        "--recipe", help=f"a packaged recipe, whose values replace the defaults: {', '.join(recipe_names())}"
    )
    parser.add_argument("--config", help="a YAML file of settings")
    defaults = flatten(to_dict(Config()), "defaults")
    for shorthand in SHORTHANDS:
        if one_run or not shorthand.one_run:
            default = defaults[shorthand.key]
            stated = "" if default is None or "(default)" in shorthand.help else f" (default {default})"
            parser.add_argument(shorthand.option, dest=shorthand.key, metavar="VALUE", help=shorthand.help + stated)


def config_from(options: argparse.Namespace) -> Config:
    """Build the config of a command line from recipe, file, shorthands and settings; later ones take precedence.

    Raises:
        UserError: an unknown recipe or setting, or a value of the wrong type.
    """
    return build(_merged_settings(options.recipe, options.config, _given(options)))


def resumed_config(options: argparse.Namespace, path: str) -> Config:
    """The config of an existing run, with shorthands and settings of the command line.

    Raises:
        UserError: there is no run, or a recipe or a file was given.
    """
    from mrkd.runs.run import RunDirectory

    if options.recipe is not None or options.config is not None:
        raise UserError("--resume takes the run's own settings: leave out --recipe and --config")
    if not RunDirectory(path).started:
        raise UserError(f"no run at {path}: expected a directory written by 'mrkd pretrain'")
    return _saved_config(path, _given(options))


def run_config(options: argparse.Namespace, verb: str, sections: Sequence[str]) -> Config:
    """The config of a finished run, with settings of the command line, which may be of these sections.

    Raises:
        UserError: there is no finished run, or a setting is wrong or of another section.
    """
    from mrkd.runs.run import RunDirectory

    RunDirectory.open(options.run)
    stored = _saved_config(options.run, {})
    return changed_only_in(sections, stored, _saved_config(options.run, _settings(options)), verb)


def run_config_on(options: argparse.Namespace) -> Config:
    """The config of a run, with the images of `--data` if given, and with settings of the command line.

    Raises:
        UserError: there is no run, or a setting is wrong.
    """
    from mrkd.runs.run import RunDirectory

    if not RunDirectory(options.run).started:
        raise UserError(f"no run at {options.run}: expected a directory written by 'mrkd pretrain'")
    config = _saved_config(options.run, {})
    if options.data is not None:
        config = with_other_data(config, options.data)
    return build(_with_precedence(flatten(to_dict(config), "config"), _settings(options)))


def parse_seeds(text: str) -> list[int]:
    """Parse `0,1,2`; raise UserError for anything else."""
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds must be whole numbers such as 0,1,2, got {text!r}") from None


def add_checkpoint_option(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`, for verbs that use the weights of a run."""
    parser.add_argument(
        "--checkpoint",
        default="backbone",
        metavar="WHICH",
        help="backbone, the training's result (default); best, last or a step number for one of its checkpoints",
    )


def _settings(options: argparse.Namespace) -> dict[str, str]:
    return parse_overrides(options.extra, options.option_names)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given = _settings(options)
    values = {shorthand.key: getattr(options, shorthand.key, None) for shorthand in SHORTHANDS}
    return {**{key: value for key, value in values.items() if value is not None}, **given}


def _saved_config(path: str, overrides: dict[str, Any]) -> Config:
    from mrkd.runs.run import RunDirectory

    return build(_with_precedence(RunDirectory(path).flat_settings(), overrides))
