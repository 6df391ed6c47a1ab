"""The command line: verbs, and any setting as `--section.field value`."""

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mrkd import __version__
from mrkd.config import Config
from mrkd.errors import Interrupted, UserError, nearest
from mrkd.settings import build, check_key, flatten, known_keys, load_recipe, read_yaml, recipe_names
from mrkd.signals import sigterm_raises

EXAMPLES = """examples:
  mrkd compare --recipe quick --data digits --methods random,ibot,rkd-d --seeds 0,1 --out runs/table
  mrkd pretrain --recipe quick --data digits --method rkd-d --out runs/a
  mrkd evaluate runs/a        mrkd attend runs/a        mrkd report runs/a
  mrkd export runs/a --format safetensors --out backbone.safetensors
every setting is an option too: --train.epochs 20 --model.width 128 (all of them: mrkd settings)
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see '{self.prog} --help')")


def load_config(recipe: str | None = None, file: str | Path | None = None, **overrides: Any) -> Config:
    """A config from a recipe, a YAML file and overrides, later ones on top.

    Overrides use two underscores for the dot: `load_config("quick", train__epochs=3)`.

    Raises:
        UserError: an unknown recipe or setting, or a value of the wrong type.
    """
    dotted = {name.replace("__", ".", 1): value for name, value in overrides.items()}
    return build(_layers(recipe, file, dotted))


def _layers(recipe: str | None, file: str | Path | None, overrides: dict[str, Any]) -> dict[str, Any]:
    flat = {} if recipe is None else load_recipe(recipe)
    if file is not None:
        flat.update(flatten(read_yaml(Path(file)), str(file)))
    for key in overrides:
        check_key(key)
    return {**flat, **overrides}


def _parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise UserError(f"unexpected argument {token!r}")
        key, equals, value = token[2:].partition("=")
        check_key(key)
        if not equals:
            if not rest:
                raise UserError(f"--{key} needs a value")
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def _settings_options(parser: argparse.ArgumentParser, method: bool = True) -> None:
    parser.add_argument("--recipe", help=f"a packaged recipe: {', '.join(recipe_names())}")
    parser.add_argument("--config", help="a YAML file of settings")
    parser.add_argument("--data", help="digits, a parquet file or folder, or a folder of images")
    if method:
        parser.add_argument("--method", help="a name from 'mrkd methods', or several joined by +")
        parser.add_argument("--seed", help="seed of weights, order, views and masks")
    parser.add_argument("--on-nonfinite", help="stop (default) or skip steps in which a number is NaN or infinite")
    parser.add_argument("--on-collapse", help="warn (default) or stop when features collapse")


def _config(options: argparse.Namespace, extra: Sequence[str]) -> Config:
    shorthand = {
        "data.source": options.data,
        "objective.method": getattr(options, "method", None),
        "train.seed": getattr(options, "seed", None),
        "train.on_nonfinite": getattr(options, "on_nonfinite", None),
        "train.on_collapse": getattr(options, "on_collapse", None),
    }
    given = {key: value for key, value in shorthand.items() if value is not None}
    overrides = {**given, **_parse_overrides(extra)}
    if getattr(options, "resume", None) is None:
        return build(_layers(options.recipe, options.config, overrides))
    if options.recipe is not None or options.config is not None:
        raise UserError("--resume takes the run's own settings: leave out --recipe and --config")
    return _saved_config(options.resume, overrides)


def _saved_config(path: str, overrides: dict[str, Any]) -> Config:
    from mrkd.run import CONFIG, Run

    if not Run(path).started:
        raise UserError(f"no run at {path}: expected a directory written by 'mrkd pretrain'")
    file = Path(path) / CONFIG
    return build({**flatten(read_yaml(file), str(file)), **overrides})


def _run_config(path: str, extra: Sequence[str]) -> Config:
    from mrkd.run import Run

    Run.open(path)
    return _saved_config(path, _parse_overrides(extra))


def _pretrain(options: argparse.Namespace, extra: Sequence[str]) -> None:
    steps = [step for step in options.then.split(",") if step]
    for step in steps:
        if step not in ("evaluate", "attend", "report"):
            raise UserError(f"--then takes evaluate, attend and report, got {step!r}")
    config = _config(options, extra)
    from mrkd.training import pretrain

    path = pretrain(config, options.out or options.resume)
    if not _first_process():
        return
    print(f"run: {path}")
    for step in steps:
        {"evaluate": _show_evaluation, "attend": _show_attention, "report": _show_report}[step](str(path), config)


def _first_process() -> bool:
    """Whether this is the one of several training processes that speaks and goes on; their launchers set these."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def _show_evaluation(path: str, config: Config) -> None:
    from mrkd.evaluation import evaluate

    results = evaluate(path, config)
    linear = ", ".join(f"{name.replace('_', ' ')} {value['acc1']:.1f}" for name, value in results["linear"].items())
    fine = f" · fine-tune {results['finetune']['acc1']:.1f}" if "finetune" in results else ""
    print(
        f"k-NN {results['knn']['acc1']:.1f} % · linear {linear}{fine} · k-means {results['kmeans']['acc']:.1f} "
        f"· RankMe {results['health']['rankme']:.1f} · {results['data']['test_images']} images of the "
        f"{results['data']['scored_on']} split, {results['seconds']:.0f} s"
    )


def _show_attention(path: str, config: Config) -> None:
    from mrkd.attention import attend

    print(f"attention: {attend(path, config)}")


def _show_report(path: str, config: Config) -> None:
    from mrkd.reporting import report

    print(f"report: {report(path)}")


def _evaluate(options: argparse.Namespace, extra: Sequence[str]) -> None:
    _show_evaluation(options.run, _run_config(options.run, extra))


def _attend(options: argparse.Namespace, extra: Sequence[str]) -> None:
    _show_attention(options.run, _run_config(options.run, extra))


def _report(options: argparse.Namespace, extra: Sequence[str]) -> None:
    from mrkd.reporting import report

    _refuse_extra(extra)
    print(f"report: {report(options.runs, options.out)}")


def _compare(options: argparse.Namespace, extra: Sequence[str]) -> None:
    config = _config(options, extra)
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds must be whole numbers such as 0,1,2, got {options.seeds!r}") from None
    from mrkd.comparison import compare

    command = "mrkd " + shlex.join(options.argv)
    compare(config, options.methods.split(","), seeds, options.out, jobs=options.jobs, command=command)
    print((Path(options.out) / "table.md").read_text(encoding="utf-8"))
    print(f"report: {Path(options.out) / 'report.html'}")


def _methods(options: argparse.Namespace, extra: Sequence[str]) -> None:
    from mrkd.losses.methods import all_methods

    _refuse_extra(extra)
    if options.name:
        print(_describe(options.name), end="")
        return
    for name, method in all_methods().items():
        terms = " + ".join(f"{term.loss} [{term.tokens}, {term.space}]" for term in method.terms) or "no terms"
        print(f"{name:18s}{method.summary}\n{'':18s}{terms}\n{'':18s}{method.source}")
    print("\nJoin any of them with +, as in ibot+rkd-d. One in full, with its equation and YAML: mrkd methods rkd-d")


def _describe(name: str) -> str:
    """A method's facts, and its terms as the YAML that `--config` would take."""
    import dataclasses

    import yaml

    from mrkd.config import ObjectiveConfig, Term
    from mrkd.losses.methods import all_methods, resolve_terms

    terms = resolve_terms(ObjectiveConfig(method=name))
    lines = []
    for part in name.split("+"):
        method = all_methods()[part]
        lines += [f"{part}: {method.summary}"]
        for heading in ("equation", "ignores", "collapses_to", "cost", "source"):
            lines.append(f"  {heading.replace('_', ' ') + ':':14s}{getattr(method, heading)}")
    defaults = {item.name: item.default for item in dataclasses.fields(Term)}
    rows = [
        {key: value for key, value in dataclasses.asdict(term).items() if value not in (defaults[key], {})}
        for term in terms
    ]
    tree = {"objective": {"method": name, "terms": rows}}
    return "\n".join(lines) + "\n\n" + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def _settings(options: argparse.Namespace, extra: Sequence[str]) -> None:
    import yaml

    from mrkd.settings import to_dict

    print(yaml.safe_dump(to_dict(_config(options, extra)), sort_keys=False), end="")


def _export(options: argparse.Namespace, extra: Sequence[str]) -> None:
    from mrkd.model.export import export

    _refuse_extra(extra)
    print(f"exported: {export(options.run, options.out, options.format)}")


def _refuse_extra(extra: Sequence[str]) -> None:
    if extra:
        raise UserError(f"unexpected argument {extra[0]!r}: {nearest(extra[0].lstrip('-'), known_keys())}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mrkd",
        description="Learn images without labels by matching relations; measure; compare.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mrkd {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb")

    def verb(name: str, action: Any, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(action=action)
        return sub

    compare = verb("compare", _compare, "train and measure several methods under equal conditions, into one table")
    _settings_options(compare, method=False)
    compare.add_argument("--methods", required=True, help="names joined by commas")
    compare.add_argument("--seeds", default="0", help="whole numbers joined by commas")
    compare.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the CPU's threads")
    compare.add_argument("--out", required=True, help="a directory for runs, table and report")
    pretrain = verb("pretrain", _pretrain, "train one method without labels")
    _settings_options(pretrain)
    place = pretrain.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", help="a new directory for the run, or one with an unfinished run of the same settings")
    place.add_argument("--resume", metavar="RUN", help="go on with an unfinished run under its own settings")
    pretrain.add_argument("--then", default="", help="also do, in this order: evaluate,attend,report")
    for name, action, text in (
        ("evaluate", _evaluate, "measure a run: k-NN, linear, fine-tune, clusters"),
        ("attend", _attend, "draw a run's attention maps"),
    ):
        verb(name, action, text).add_argument("run", help="a run directory")
    report = verb("report", _report, "write one HTML page about one or several runs")
    report.add_argument("runs", nargs="+", help="run directories")
    report.add_argument("--out", help="the file; report.html in the first run by default")
    export = verb("export", _export, "write a run's backbone for other tools")
    export.add_argument("run", help="a run directory")
    export.add_argument("--format", default="safetensors", help="safetensors")
    export.add_argument("--out", required=True, help="the file to write")
    methods = verb("methods", _methods, "list the methods, or show one in full: equation, source, YAML")
    methods.add_argument("name", nargs="?", help="a method, or several joined by +")
    _settings_options(verb("settings", _settings, "print every setting as YAML, with a recipe's and your values"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 2 for bad input, 130 after SIGINT, 143 after SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    try:
        options, extra = parser.parse_known_args(arguments)
        if options.verb is None:
            parser.print_help()
            return 0
        options.argv = arguments
        with sigterm_raises():
            options.action(options, extra)
    except UserError as error:
        print(f"mrkd: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        print(f"mrkd: {error.filename or 'writing failed'}: {reason}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        if _first_process():
            print(f"mrkd: {stop}", file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("mrkd: interrupted", file=sys.stderr)
        return 130
    return 0
