import pytest

from mrkd.config import Config
from mrkd.errors import UserError
from mrkd.settings import build, flatten, known_keys, load_recipe, recipe_names, to_dict


def test_strings_from_a_command_line_become_typed_values():
    config = build({"train.epochs": "3", "views.crop_scale": "[0.5, 1.0]", "optim.learning_rate": "1e-3"})
    assert config.train.epochs == 3
    assert config.views.crop_scale == (0.5, 1.0)
    assert config.optim.learning_rate == 0.001


def test_a_config_survives_the_way_through_plain_values():
    config = build({**load_recipe("quick"), "objective.method": "rkd-a"})
    assert build(flatten(to_dict(config), "test")) == config


def test_terms_of_ones_own_are_read():
    config = build({"objective.terms": [{"loss": "rkd-angle", "weight": 2.0, "tokens": "patch-image"}]})
    assert config.objective.terms[0].tokens == "patch-image"


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_builds(recipe):
    assert isinstance(build(load_recipe(recipe)), Config)


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"train.batch": "many"}, "train.batch must be int, got 'many'"),
        ({"train.batch": 1}, "train.batch must be at least 2"),
        ({"views.crop_scale": [0.9, 0.1]}, "low <= high"),
        ({"model.width": 10, "model.heads": 3}, "multiple of model.heads"),
        ({"mask.kind": "stripes"}, "mask.kind"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(flat, message):
    with pytest.raises(UserError, match=message):
        build(flat)


def test_an_unknown_key_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"x.yaml: unknown setting 'train.epoch': did you mean 'train.epochs'"):
        flatten({"train": {"epoch": 3}}, "x.yaml")
    with pytest.raises(UserError, match="did you mean 'train'"):
        flatten({"trian": {}}, "x.yaml")


def test_every_setting_has_a_docstring_below_it():
    import ast
    import inspect

    import mrkd.config

    tree = ast.parse(inspect.getsource(mrkd.config))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in ("Config",):
            for field, following in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(following, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no docstring"
    assert "train.epochs" in known_keys()
