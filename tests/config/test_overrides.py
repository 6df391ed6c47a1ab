import os
import random
from pathlib import Path

import pytest
import yaml

from mrkd.cli import load_config, main
from mrkd.config import Config
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


def test_unknown_settings_are_refused_in_options_and_in_python():
    for key in ("train.epoch", "trian.epochs"):
        with pytest.raises(UserError, match=r"unknown setting .* did you mean 'train.epochs'"):
            build({key: 3})


def test_building_a_config_does_not_change_its_arguments():
    terms = [{"loss": "rkd-angle", "weight": "2", "options": {"delta": 1.0}}]
    assert build({"objective.terms": terms}).objective.terms[0].weight == 2.0
    assert terms == [{"loss": "rkd-angle", "weight": "2", "options": {"delta": 1.0}}]


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
