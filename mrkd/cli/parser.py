"""Build the argparse parser from the table of verbs, and the help: short by default, complete with `--help all`."""

import argparse
import ast
import dataclasses
import inspect
import itertools
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from mrkd import __version__
from mrkd.cli.verb import Verb
from mrkd.config import Config
from mrkd.errors import UserError, nearest

DESCRIPTION = "Train Vision Transformers without labels, and compare self-supervised losses."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see '{self.prog} --help')")


def make_parser(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """The parser of the command line; the option `verb` is None if no verb is given."""
    parser = _Parser(prog="mrkd", description=DESCRIPTION, add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", nargs="?", const="", metavar="all", action=_OverviewAction, verbs=verbs)
    parser.add_argument("--version", action="version", version=f"mrkd {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="verb")
    for verb in verbs.values():
        _add(subparsers, verb)
    return parser


def refuse_empty(options: argparse.Namespace) -> None:
    """Refuse empty words, as a script with an unset variable gives them: as a path they would be the current folder.

    Settings, which have a dot in their name, are checked with all others.

    Raises:
        UserError: an option or argument is empty.
    """
    for name, value in vars(options).items():
        words = value if isinstance(value, list) else [value]
        if "." not in name and any(isinstance(word, str) and not word.strip() for word in words):
            raise UserError(f"{name.replace('_', '-')!r} must not be empty: give a value, or leave it out")


def _add(subparsers: Any, verb: Verb) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = subparsers.add_parser(
        verb.name,
        help=verb.summary,
        description=verb.summary[0].upper() + verb.summary[1:] + ".",
        epilog=_epilog(verb),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    verb.options(sub)
    sub.set_defaults(option_names=[name for name in sub._option_string_actions if name.startswith("--")])
    sub.add_argument(
        "-h",
        "--help",
        nargs="?",
        const="",
        metavar="all",
        action=_VerbHelpAction,
        settings=verb.takes_settings,
        help="this text; with 'all' also every setting" if verb.takes_settings else "this text",
    )
    return sub


def _epilog(verb: Verb) -> str:
    text = f"example:\n  {verb.example}"
    if verb.takes_settings:
        text += f"\nevery setting is an option too: --train.epochs 20 (all of them: mrkd {verb.name} --help all)"
    return text


class _VerbHelpAction(argparse.Action):
    """`mrkd VERB --help [all]`."""

    def __init__(self, *, settings: bool, **rest: Any) -> None:
        super().__init__(**rest)
        self.settings = settings

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> None:
        """Print the help and exit."""
        _check_topic(values, ["all"])
        print(parser.format_help(), end="")
        if values == "all" and self.settings:
            print("\n" + describe_settings(), end="")
        parser.exit()


class _OverviewAction(argparse.Action):
    """`mrkd --help [all | VERB]`."""

    def __init__(self, *, verbs: Mapping[str, Verb], **rest: Any) -> None:
        super().__init__(**rest)
        self.verbs = verbs

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> None:
        """Print the help and exit."""
        _check_topic(values, ["all", *self.verbs])
        chosen = {name: verb for name, verb in self.verbs.items() if values in ("all", name)}
        if values in ("", "all"):
            print(overview(self.verbs), end="")
        subparsers = _Parser(prog="mrkd", add_help=False).add_subparsers()
        for verb in chosen.values():
            print("\n" * (values == "all") + _add(subparsers, verb).format_help(), end="")
        if values == "all":
            print("\n" + describe_settings(), end="")
        parser.exit()


def _check_topic(topic: str, known: Sequence[str]) -> None:
    if topic and topic not in known:
        raise UserError(f"unknown topic of --help {topic!r}: {nearest(topic, known)}")


def overview(verbs: Mapping[str, Verb]) -> str:
    """The text for `mrkd` without arguments: all verbs, each with an example."""
    width = max(map(len, verbs)) + 2
    lines = [f"mrkd {__version__}: {DESCRIPTION[0].lower()}{DESCRIPTION[1:]}", ""]
    for verb in verbs.values():
        lines += [f"  {verb.name:{width}s}{verb.summary}", f"  {'':{width}s}{verb.example}"]
    return "\n".join([*lines, "", "One verb: mrkd VERB --help. Every option and setting: mrkd --help all.", ""])


def describe_settings() -> str:
    """All settings with type, default and docstring, by section."""
    width = max(60, min(120, shutil.get_terminal_size().columns))
    lines = ["settings, each an option of the verbs that train or measure:"]
    for section, kind in _sections():
        lines += ["", f"{section}: {(kind.__doc__ or '').splitlines()[0]}"]
        for field, text in _documented_fields(kind):
            lines.append(f"  --{section}.{field.name} {field.type} (default {_default(field)})")
            lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join([*lines, ""])


def _sections() -> Iterator[tuple[str, Any]]:
    for section in dataclasses.fields(Config):
        yield section.name, section.default_factory


def _documented_fields(kind: Any) -> Iterator[tuple[dataclasses.Field[Any], str]]:
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {
        ast.unparse(item.target): ast.literal_eval(following.value)
        for item, following in itertools.pairwise(definition.body)
        if isinstance(item, ast.AnnAssign) and isinstance(following, ast.Expr)
    }
    for field in dataclasses.fields(kind):
        yield field, " ".join(texts[field.name].split())


def _default(field: dataclasses.Field[Any]) -> str:
    import yaml

    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n...\n").strip()


def refuse_unknown(extra: Sequence[str]) -> None:
    """Raise UserError for the first word that is no option of the verb."""
    if extra:
        raise UserError(
            f"unexpected argument {extra[0]!r}: this verb takes no settings, its --help shows what it takes"
        )
