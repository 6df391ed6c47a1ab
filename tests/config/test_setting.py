import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from mrkd.config.keys import known_keys, may_change
from mrkd.config.setting import setting
from mrkd.config.typed import construct
from mrkd.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Example:
    steps: int = setting(10, resumable=True, formerly="train.count")
    limit: float | None = setting(None)
    options: dict[str, Any] = setting(default_factory=dict, part_of_measurement=False)


def test_a_setting_is_a_field_with_a_default_and_properties():
    assert Example() == Example(steps=10, limit=None, options={})
    assert Example().options is not Example().options
    said = {field.name: dict(field.metadata) for field in fields(Example)}
    assert said["steps"] == {"resumable": True, "formerly": "train.count"}
    assert said["limit"] == {}
    assert said["options"] == {"part_of_measurement": False}


def test_a_setting_is_parsed_by_its_type():
    given = {"steps": 3, "options": {"a": 1}}
    assert construct(Example, given, "example") == Example(**given)
    with pytest.raises(UserError, match=r"example\.steps must be int, got 'many'"):
        construct(Example, {"steps": "many"}, "example")


def test_the_documentation_lists_the_settings_that_may_change_on_resume():
    page = (Path(__file__).parent.parent.parent / "docs" / "durability.md").read_text(encoding="utf-8")
    table = page.partition("## Settings that may change on resuming")[2].partition("Every other difference")[0]
    listed = tuple(re.findall(r"`([a-z_.]+)`", table))
    whole_sections = tuple(name for name in listed if name.endswith("."))
    assert whole_sections == ("evaluation.", "attention.")
    changeable = {key for key in known_keys() if may_change(key)}
    assert {key for key in changeable if not key.startswith(whole_sections)} == set(listed) - set(whole_sections)
    assert {key for key in known_keys() if key.startswith(whole_sections)} <= changeable
