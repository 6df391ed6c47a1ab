import random

import pytest

from mrkd.config import Config
from mrkd.errors import UserError
from mrkd.settings import RECIPES, build, flatten, known_keys, load_recipe, read_yaml, recipe_names, to_dict


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
        ({"train.precision": "16-mixed"}, "without float16, got 16-mixed"),
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
    from pathlib import Path

    import mrkd.config

    files = Path(mrkd.config.__file__).parent.glob("*.py")
    classes = [
        node
        for path in files
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name != "Config"
    ]
    assert len(classes) == 12
    for node in classes:
        for field, following in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(following, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no docstring"
    assert "train.epochs" in known_keys()


def test_aliases_that_unfold_without_end_are_refused(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="aliases"):
        read_yaml(tmp_path / "bomb.yaml")


def test_hundreds_of_fuzzed_files_end_in_a_config_or_one_line(tmp_path):
    choose = random.Random(0)
    whole = (RECIPES / "quick.yaml").read_bytes()
    bits = [b"[", b"{", b": ", b"&a ", b"*a", b"!!python/object/apply:os.system [touch harmed]", b"2020-13-45", b"\x00"]
    bits += [b"\xff", b".inf", b".nan", b"null", b"- ", b"\t", b"9" * 400, b"0x", b"!!binary x", b"? ", b"<<: 3"]
    for _ in range(300):
        content = bytearray(whole[choose.randrange(200, 900) :])
        for _ in range(choose.randint(1, 4)):
            place = choose.randrange(len(content))
            content[place : place + choose.randint(0, 6)] = choose.choice(bits)
        (tmp_path / "fuzzed.yaml").write_bytes(content)
        try:
            build(flatten(read_yaml(tmp_path / "fuzzed.yaml"), "fuzzed.yaml"))
        except UserError as error:
            message = str(error)
            assert len(message.splitlines()) == 1, message


@pytest.mark.parametrize("value", ["a: b: c", "*x", "[1", "2020-13-45", "{", "!!python/name:os.system"])
def test_broken_yaml_typed_as_a_value_is_refused_by_its_type(value):
    with pytest.raises(UserError, match=r"train\.epochs must be int"):
        build({"train.epochs": value})
    assert build({"data.source": "a: b: c"}).data.source == "a: b: c"
