"""Settings by their dotted keys, such as `train.epochs`, and what their fields say of them (see `setting`)."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

from mrkd.config import Config, Term
from mrkd.config.source import stored_source


@cache
def _facts() -> dict[str, dict[str, Any]]:
    """Dotted key to what its field, or else its section, says."""
    return {
        f"{section.name}.{item.name}": {**section.metadata, **item.metadata}
        for section in dataclasses.fields(Config)
        for item in dataclasses.fields(section.default_factory)  # type: ignore[arg-type]
    }


def known_keys() -> list[str]:
    """Every dotted key of the config."""
    return list(_facts())


def may_change(key: str) -> bool:
    """Whether a run may go on with another value, because it does not change what is trained."""
    return _says(key, "resumable")


def equal_among_compared(key: str) -> bool:
    """Whether methods in one comparison must share the value."""
    return _says(key, "equal_among_compared")


def part_of_measurement(key: str) -> bool:
    """Whether an evaluation's figures depend on the value."""
    return _says(key, "part_of_measurement")


def _says(key: str, fact: str) -> bool:
    return bool(_facts().get(key, {}).get(fact, False))


@cache
def present_names() -> dict[str, str]:
    """Former dotted key to the present one."""
    return {facts["formerly"]: key for key, facts in _facts().items() if "formerly" in facts}


@cache
def present_names_in_terms() -> dict[str, str]:
    """Former name of a term's field to the present one."""
    return {item.metadata["formerly"]: item.name for item in dataclasses.fields(Term) if "formerly" in item.metadata}


def with_present_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, as an older version stored them, under today's names, with an absolute source; whatever else is
    wrong stays as it is."""
    renamed = {section: dict(own) if isinstance(own, Mapping) else own for section, own in tree.items()}
    for former, present in present_names().items():
        (old_section, old_name), (section, name) = former.split("."), present.split(".")
        if isinstance(renamed.get(old_section), dict) and old_name in renamed[old_section]:
            value = renamed[old_section].pop(old_name)
            renamed.setdefault(section, {}).setdefault(name, value)
    data = renamed.get("data")
    if isinstance(data, dict) and isinstance(data.get("source"), str):
        data["source"] = stored_source(data["source"])
    objective = renamed.get("objective")
    if isinstance(objective, dict) and isinstance(objective.get("terms"), list):
        objective["terms"] = [_term_with_present_names(term) for term in objective["terms"]]
    return renamed


def _term_with_present_names(term: Any) -> Any:
    if not isinstance(term, Mapping):
        return term
    return {present_names_in_terms().get(name, name): value for name, value in term.items()}
