import dataclasses
import math

import pytest

from mrkd.config import Config
from mrkd.config.overrides import (
    build,
)
from mrkd.errors import UserError

TYPES = {
    f"{section.name}.{field.name}": field.type
    for section in dataclasses.fields(Config)
    for field in dataclasses.fields(section.default_factory)
}


def test_strings_from_a_command_line_become_typed_values():
    config = build({"train.epochs": "3", "views.crop_scale": "[0.5, 1.0]", "optim.learning_rate": "1e-3"})
    assert config.train.epochs == 3
    assert config.views.crop_scale == (0.5, 1.0)
    assert config.optim.learning_rate == 0.001


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"train.batch": "many"}, "train.batch must be int, got 'many'"),
        ({"train.batch": 1}, "train.batch must be at least 2"),
        ({"train.precision": "16-mixed"}, "auto, 32-true or bf16-mixed, got 16-mixed"),
        ({"views.crop_scale": [0.9, 0.1]}, "low <= high"),
        ({"model.width": 10, "model.heads": 3}, "multiple of model.heads"),
        ({"mask.kind": "stripes"}, "mask.kind"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(flat, message):
    with pytest.raises(UserError, match=message):
        build(flat)


@pytest.mark.parametrize("value", [None, "null", "~"])
def test_null_is_refused_where_the_type_has_no_none(value):
    keys = [key for key, kind in TYPES.items() if "None" not in kind]
    assert {"optim.betas", "train.logger", "evaluation.k", "objective.relation_options"} <= set(keys)
    for key in keys:
        with pytest.raises(UserError, match=rf"^{key} must be .*, got null; leave it out"):
            build({key: value})
    assert build({"train.steps": value, "data.cache": value}).data.cache is None


def test_a_wrong_field_of_a_term_is_named_with_what_was_expected():
    for term, message in [
        ({"loss": "koleo", "tokens": "words"}, r"objective.terms.tokens must be Literal\['cls', .*\], got 'words'"),
        ({"loss": "koleo", "block": 2.0}, "objective.terms.block must be int | None, got 2.0"),
        ({"loss": "koleo", "wieght": 2}, "unknown setting 'objective.terms.wieght': did you mean 'weight'?"),
        ({"weight": 2}, "objective.terms.loss must be given, got weight"),
        ({"loss": "koleo", "options": {1: 2}}, r"objective.terms.options must be dict\[str, Any\], got {1: 2}"),
        ("koleo", r"objective.terms must be list\[Term\] | None, got \['koleo'\]"),
    ]:
        with pytest.raises(UserError, match=message.replace("|", r"\|").replace("?", r"\?")):
            build({"objective.terms": [term]})


@pytest.mark.parametrize("value", ["1e400", ["1e400", "0.1"], 10**400])
def test_numbers_too_large_for_a_float_are_refused(value):
    key = "evaluation.linear_learning_rates" if isinstance(value, list) else "optim.learning_rate"
    with pytest.raises(UserError, match=rf"^{key} must be .*float.*, got"):
        build({key: value})
    assert build({"evaluation.linear_learning_rates": ["1e-3"]}).evaluation.linear_learning_rates == (0.001,)


def test_numbers_in_options_of_a_term_may_be_written_in_any_notation():
    config = build({"objective.relation_options": "{delta: 1e-3, scale: '2', name: huber, flags: [1, true]}"})
    assert config.objective.relation_options == {"delta": 0.001, "scale": 2, "name": "huber", "flags": [1, True]}


def test_null_is_refused_for_fields_of_a_term_but_not_for_its_options():
    with pytest.raises(UserError, match=r"^objective.terms.weight must be float, got null"):
        build({"objective.terms": [{"loss": "rkd-angle", "weight": None}]})
    config = build({"objective.terms": [{"loss": "rkd-angle", "grad_norm_ratio": None, "options": {"delta": None}}]})
    assert config.objective.terms[0].options == {"delta": None}


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    keys = [key for key, kind in TYPES.items() if kind.startswith("float")]
    assert {"optim.weight_decay", "train.minutes", "views.hue"} <= set(keys)
    for key in keys:
        with pytest.raises(UserError, match=rf"^{key} must be a finite number, got -?(nan|inf)$"):
            build({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.betas", "[0.9, .nan]"),
        ("evaluation.linear_learning_rates", [0.1, math.inf]),
        ("objective.relation_options", {"student_temperature": math.nan}),
        ("objective.terms", [{"loss": "rkd-angle", "weight": math.inf}]),
        ("objective.terms", [{"loss": "rkd-angle", "options": {"delta": [math.inf]}}]),
    ],
)
def test_numbers_that_are_not_finite_are_refused_at_any_depth(key, value):
    with pytest.raises(UserError, match=rf"^{key}\S* must be a finite number"):
        build({key: value})


@pytest.mark.parametrize("value", ["a: b: c", "*x", "[1", "2020-13-45", "{", "!!python/name:os.system"])
def test_invalid_yaml_as_a_value_is_refused_with_the_expected_type(value):
    with pytest.raises(UserError, match=r"train\.epochs must be int"):
        build({"train.epochs": value})
    assert build({"data.source": "a: b: c"}).data.source == "a: b: c"
