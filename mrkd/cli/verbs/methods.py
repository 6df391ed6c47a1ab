"""`mrkd methods`."""

import argparse
import dataclasses
import textwrap

from mrkd.cli.verb import Verb


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a method, or several joined by +")


def _run(options: argparse.Namespace) -> None:
    from mrkd.objective.resolve import all_methods

    if options.name:
        print(describe(options.name), end="")
        return
    for name, method in all_methods().items():
        terms = " + ".join(f"{term.loss} [{term.tokens}, {term.space}]" for term in method.terms) or "no terms"
        print(f"{name:18s}{method.summary}\n{'':18s}{terms}\n{'':18s}{method.source}")
    print("\nCombine methods with +, as in ibot+rkd-d. Show one in full, with equation and YAML: mrkd methods rkd-d")


def describe(name: str) -> str:
    """A method as YAML for `--config`: its description as comments, then its terms."""
    import yaml

    from mrkd.config import ObjectiveConfig, Term
    from mrkd.config.sections.objective import canonical_method
    from mrkd.objective.resolve import all_methods, resolve_terms

    name = canonical_method(name)
    terms = resolve_terms(ObjectiveConfig(method=name))
    lines = []
    for part in name.split("+"):
        method = all_methods()[part]
        lines += [f"{part}: {method.summary}"]
        for heading in ("equation", "invariant_to", "collapses_to", "cost", "source"):
            lines.append(f"  {heading.replace('_', ' ') + ':':14s}{getattr(method, heading)}")
    defaults = {item.name: item.default for item in dataclasses.fields(Term)}
    rows = [
        {key: value for key, value in dataclasses.asdict(term).items() if value not in (defaults[key], {})}
        for term in terms
    ]
    tree = {"objective": {"method": name, "terms": rows}}
    prose = textwrap.indent("\n".join(lines), "# ")
    return f"{prose}\n\n" + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


VERB = Verb(
    name="methods",
    summary="list the methods, or show one in full: equation, source, YAML",
    example="mrkd methods rkd-a",
    run=_run,
    options=_options,
)
