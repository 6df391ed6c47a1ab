"""Look up properties of settings by dotted keys such as `train.epochs`; `setting` declares them at the fields."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

from mrkd.config import Config, Term
from mrkd.config.source import stored_source


@cache
def _properties() -> dict[str, dict[str, Any]]:
    """Dotted key -> properties of its field, or else of its section."""
    return {
        f"{section.name}.{item.name}": {**section.metadata, **item.metadata}
        for section in dataclasses.fields(Config)
        for item in dataclasses.fields(section.default_factory)  # type: ignore[arg-type]
    }


def known_keys() -> list[str]:
    """All dotted keys of the config."""
    return list(_properties())


def may_change(key: str) -> bool:
    """Whether a run may be resumed with another value, because the setting does not affect what is trained."""
    return _property(key, "resumable")


def equal_among_compared(key: str) -> bool:
    """Whether methods in one comparison must have the same value."""
    return _property(key, "equal_among_compared")


def part_of_measurement(key: str) -> bool:
    """Whether the results of an evaluation depend on the value."""
    return _property(key, "part_of_measurement")


def _property(key: str, name: str) -> bool:
    return bool(_properties().get(key, {}).get(name, False))


@cache
def present_names() -> dict[str, str]:
    """Former dotted key of a setting -> its present one."""
    return {properties["formerly"]: key for key, properties in _properties().items() if "formerly" in properties}


@cache
def present_names_in_terms() -> dict[str, str]:
    """Former name of a field of a term -> its present one."""
    return {item.metadata["formerly"]: item.name for item in dataclasses.fields(Term) if "formerly" in item.metadata}


def with_present_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Convert nested settings stored by an older version to present names, with an absolute source.

    Other errors are left for later checks.
    """
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
