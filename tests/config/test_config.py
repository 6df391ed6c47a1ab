import dataclasses
import math
import os
import random
from pathlib import Path

import pytest
import yaml

from mrkd.cli import load_config, main
from mrkd.config import Config
from mrkd.config.keys import known_keys
from mrkd.config.overrides import (
    RECIPES,
    build,
    flatten,
    load_recipe,
    nearest_setting,
    read_scalars,
    read_yaml,
    recipe_names,
    to_dict,
)
from mrkd.errors import LISTED, OFFERED, UserError, nearest

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


def test_a_config_is_unchanged_by_conversion_to_plain_values_and_back():
    config = build({**load_recipe("quick"), "objective.method": "rkd-a"})
    assert build(flatten(to_dict(config), "test")) == config


def test_custom_terms_are_read():
    config = build({"objective.terms": [{"loss": "rkd-angle", "weight": 2.0, "tokens": "patch-image"}]})
    assert config.objective.terms[0].tokens == "patch-image"


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_builds(recipe):
    assert isinstance(build(load_recipe(recipe)), Config)


def test_the_quick_recipe_evaluates_with_the_augmentation_of_its_training():
    config = build(load_recipe("quick"))
    assert config.evaluation.augmentation == config.views


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


def test_unknown_settings_are_refused_in_options_and_in_python():
    for key in ("train.epoch", "trian.epochs"):
        with pytest.raises(UserError, match=r"unknown setting .* did you mean 'train.epochs'"):
            build({key: 3})


def test_building_a_config_does_not_change_its_arguments():
    terms = [{"loss": "rkd-angle", "weight": "2", "options": {"delta": 1.0}}]
    assert build({"objective.terms": terms}).objective.terms[0].weight == 2.0
    assert terms == [{"loss": "rkd-angle", "weight": "2", "options": {"delta": 1.0}}]


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


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("train.seed", [0, 2**32 - 1], [-1, 2**32]),
        ("train.monitor_images", [10], [9, 0, -1]),
        ("train.monitor_times", [1], [0, -1]),
        ("train.micro_batch", [1], [0]),
        ("train.steps", [1], [0]),
        ("train.max_skipped_steps", [0], [-1]),
        ("evaluation.seed", [0], [-1, 2**32]),
        ("evaluation.k", [1], [0]),
        ("evaluation.knn_temperature", [0.01], [0, -0.1]),
        ("evaluation.linear_strengths", [[0.1]], [[], [0.1, 0.0], [-1.0]]),
        ("evaluation.linear_epochs", [[1]], [[], [0], [10, -1]]),
        ("evaluation.linear_batch", [1], [0]),
        ("evaluation.linear_learning_rates", [[0.1]], [[], [0.1, 0.0], [-1.0]]),
        ("evaluation.finetune_epochs", [0], [-1]),
        ("evaluation.finetune_batch", [1], [0]),
        ("evaluation.finetune_learning_rates", [[0.1]], [[], [0.0]]),
        ("evaluation.augmentation_crop_scale", [[0.1, 1]], [[0, 1], [0.9, 0.1], [0.5, 1.1]]),
        ("evaluation.augmentation_crop_ratio", [[1, 1]], [[0, 1], [2, 1]]),
        ("evaluation.augmentation_flip", [0, 1], [-0.1, 1.1]),
        ("evaluation.augmentation_rotate_degrees", [0], [-1]),
        ("evaluation.augmentation_jitter", [0, 1], [-0.1, 1.1]),
        ("evaluation.augmentation_brightness", [0], [-0.1]),
        ("evaluation.augmentation_contrast", [0], [-0.1]),
        ("evaluation.cluster_restarts", [1], [0]),
        ("evaluation.cluster_head_epochs", [0], [-1]),
        ("evaluation.heldout_fraction", [0.01, 0.5], [0, 0.005, 0.51, 1]),
        ("optim.clip", [0], [-1]),
        ("optim.weight_decay", [0], [-0.1]),
        ("optim.final_weight_decay", [0], [-0.1]),
        ("optim.final_learning_rate", [0], [-1e-6]),
        ("optim.muon_rate_factor", [0.1], [0, -1]),
        ("optim.betas", [[0, 0]], [[1.0, 0.9], [0.9, -0.1]]),
        ("views.brightness", [0], [-0.1]),
        ("views.contrast", [0], [-0.1]),
        ("views.saturation", [0], [-0.1]),
        ("views.hue", [0, 0.5], [-0.1, 0.6]),
        ("views.jitter", [0, 1], [-0.1, 1.1]),
        ("views.grey", [0, 1], [-0.1, 1.1]),
        ("views.blur", [0, 1], [-0.1, 1.1]),
        ("views.rotate_degrees", [0], [-1]),
        ("views.crop_ratio", [[1, 1]], [[0, 1], [2, 1]]),
        ("views.local_size", [1], [0]),
        ("data.max_resident_gib", [0], [-1]),
        ("distillation.teacher_temperature_warmup", [0, 1], [-0.1, 1.1]),
        ("distillation.center_momentum", [0, 1], [-0.1, 1.1]),
        ("distillation.sinkhorn_iterations", [1], [0]),
    ],
)
def test_numbers_out_of_bounds_are_refused_with_the_bounds(key, good, bad):
    for value in good:
        build({key: value})
    for value in bad:
        with pytest.raises(UserError, match=rf"^{key} must .*, got .+") as refusal:
            build({key: value})
        assert "\n" not in str(refusal.value)


def test_the_monitor_needs_at_least_one_held_out_image():
    build({"train.monitor_images": 20, "evaluation.heldout_fraction": 0.05})
    with pytest.raises(UserError, match=r"train.monitor_images must be at least 20 with .*heldout_fraction 0.05"):
        build({"train.monitor_images": 19, "evaluation.heldout_fraction": 0.05})


STORED_WITH_MINUTES = {"train": {"epochs": 40, "steps": 535, "minutes": None, "batch": 64}}


@pytest.mark.parametrize(
    ("file", "typed", "expected"),
    [
        (STORED_WITH_MINUTES, {}, (40, 535, None)),
        (STORED_WITH_MINUTES, {"train__epochs": "2"}, (2, None, None)),
        (STORED_WITH_MINUTES, {"train__minutes": 1}, (40, None, 1.0)),
        (STORED_WITH_MINUTES, {"train__steps": 3}, (40, 3, None)),
        (STORED_WITH_MINUTES, {"train__steps": "null"}, (40, None, None)),
        (STORED_WITH_MINUTES, {"train__steps": "null", "train__epochs": 2}, (2, None, None)),
        ({"train": {"minutes": 3}}, {"train__steps": 5}, (40, 5, None)),
        ({"train": {"minutes": 3}}, {"train__epochs": 5}, (5, None, None)),
    ],
)
def test_a_typed_length_overrides_other_lengths_in_a_file(file, typed, expected, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(file))
    train = load_config("quick", path, **typed).train
    assert (train.epochs, train.steps, train.minutes) == expected


def test_two_typed_lengths_are_refused():
    for typed in ({"train__epochs": 2, "train__steps": 3}, {"train__minutes": "1", "train__epochs": "2"}):
        with pytest.raises(UserError, match=r"a run has one length, got train.epochs and train\.\w+: leave out"):
            load_config("quick", **typed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lr", "did you mean 'optim.learning_rate'?"),
        ("optim.lr", "did you mean 'optim.learning_rate'?"),
        ("learning-rate", "did you mean 'optim.learning_rate'?"),
        ("train.size", "did you mean 'data.size' or 'teacher.size'?"),
        ("rate", "did you mean 'optim.learning_rate', 'optim.final_learning_rate' or 'optim.muon_rate_factor'?"),
        ("epoch", "did you mean 'train.epochs'?"),
        ("workerz", "did you mean 'data.workers'?"),
        ("zzzz", "'mrkd settings' prints all there are"),
    ],
)
def test_hints_for_unknown_settings_compare_the_last_part_of_keys(name, expected):
    assert nearest_setting(name) == expected


def test_only_a_few_names_are_listed():
    assert nearest_setting("temperature").count("'") == 2 * OFFERED
    assert nearest("zzzz", map(str, range(100))).endswith(", … (100 in all)")
    assert nearest("zzzz", map(str, range(100))).count(",") == LISTED
    assert nearest("zzzz", ["a", "b"]) == "valid: a, b"


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
    named = [node for path in files for node in ast.parse(path.read_text(encoding="utf-8")).body]
    named = [node for node in named if isinstance(node, ast.ClassDef) and node.name != "Config"]
    classes = [node for node in named if node.name == "Term" or node.name.endswith("Config")]
    assert len(classes) == 13
    for node in classes:
        for field, following in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(following, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no docstring"
    assert "train.epochs" in known_keys()


def test_yaml_aliases_that_expand_exponentially_are_refused(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="aliases"):
        read_yaml(tmp_path / "bomb.yaml")


def test_hundreds_of_fuzzed_files_give_a_config_or_an_error_of_one_line(tmp_path):
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
def test_invalid_yaml_as_a_value_is_refused_with_the_expected_type(value):
    with pytest.raises(UserError, match=r"train\.epochs must be int"):
        build({"train.epochs": value})
    assert build({"data.source": "a: b: c"}).data.source == "a: b: c"


@pytest.mark.timeout(30)
def test_a_pipe_a_folder_and_a_device_are_no_settings(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for path in (tmp_path / "pipe.yaml", tmp_path / "folder.yaml", Path("/dev/zero")):
        for read in (read_yaml, read_scalars):
            with pytest.raises(UserError, match=r"expected a YAML file, got a (pipe or device|folder)"):
                read(path)
        assert main(["settings", "--config", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_single_values_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: {b: 1, c: [x, {d: 2}], e: {f: 'two words'}}\ng: null\nh:\n  i: 1e-3\n")
    assert read_scalars(path) == {"a.b": "1", "a.e.f": "two words", "g": "null", "h.i": "1e-3"}
    path.write_text("? [k]\n: v\n")
    with pytest.raises(UserError, match="a key must be a single value"):
        read_scalars(path)
    path.write_text(yaml.safe_dump(to_dict(Config())))
    flat = {key: value for key, value in flatten(to_dict(Config()), "").items() if not isinstance(value, list | dict)}
    found = read_scalars(path)
    assert {key: yaml.safe_load(found[key]) for key in flat} == flat
