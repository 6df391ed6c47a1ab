import pytest
import yaml

from mrkd.cli import load_config, main
from mrkd.config.keys import (
    equal_among_compared,
    known_keys,
    may_change,
    part_of_measurement,
    present_names,
    with_present_names,
)
from mrkd.config.overrides import build, flatten
from mrkd.errors import UserError

RENAMED = {
    "objective.relation_share": "objective.relation_grad_norm_ratio",
    "train.checkpoint_activations": "train.activation_checkpointing",
}


def section(name: str) -> set[str]:
    return {key for key in known_keys() if key.startswith(f"{name}.")}


def test_settings_that_do_not_affect_training_may_change_on_resume():
    assert {key for key in section("data") if may_change(key)} == {
        "data.cache",
        "data.cache_gib",
        "data.source",
        "data.workers",
    }
    fixed = {"epochs", "steps", "minutes", "batch", "auto_batch", "seed", "accelerator", "precision", "micro_batch"}
    assert {key for key in section("train") if not may_change(key)} == {f"train.{name}" for name in fixed}
    assert all(may_change(key) for key in section("evaluation") | section("attention"))
    others = ("views", "mask", "model", "head", "teacher", "distillation", "objective", "optim")
    assert not any(may_change(key) for name in others for key in section(name))


def test_compared_methods_must_have_equal_data_batch_length_and_evaluation():
    lengths = {"train.batch", "train.auto_batch", "train.epochs", "train.steps", "train.minutes"}
    teacher = section("teacher") - {"teacher.views"}
    shared = section("data") | section("evaluation") | lengths | teacher
    assert {key for key in known_keys() if equal_among_compared(key)} == shared


def test_evaluation_results_depend_on_the_test_images_and_evaluation_settings_but_not_on_the_map():
    images = "source size train_images test_images holdout image_column label_column use_labels"
    data = {f"data.{name}" for name in images.split()}
    measured = {key for key in known_keys() if part_of_measurement(key)}
    assert measured == data | section("evaluation") - {"evaluation.map_images"}


def test_an_unknown_key_has_no_properties():
    for question in (may_change, equal_among_compared, part_of_measurement):
        assert not question("train.epoch")
        assert not question("data.")


def test_former_names_map_to_existing_settings_and_are_no_settings_themselves():
    assert RENAMED.items() <= present_names().items()
    assert set(present_names().values()) <= set(known_keys())
    assert not set(present_names()) & set(known_keys())


def test_stored_settings_are_converted_to_present_names():
    stored = {
        "objective": {"relation_share": 0.5, "terms": [{"loss": "koleo", "share": None}, {"loss": "rkd-angle"}]},
        "train": {"checkpoint_activations": True, "epochs": 3},
    }
    assert with_present_names(stored) == {
        "objective": {
            "relation_grad_norm_ratio": 0.5,
            "terms": [{"loss": "koleo", "grad_norm_ratio": None}, {"loss": "rkd-angle"}],
        },
        "train": {"activation_checkpointing": True, "epochs": 3},
    }
    assert stored["train"] == {"checkpoint_activations": True, "epochs": 3}


@pytest.mark.parametrize("damaged", [{}, {"train": None}, {"objective": 3, 4: []}, {"objective": {"terms": ["a", 1]}}])
def test_damaged_stored_settings_are_left_unchanged(damaged):
    assert with_present_names(damaged) == damaged


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_former_name_is_refused_with_the_present_one_wherever_a_user_gives_it(former, present, tmp_path, capsys):
    line = f"unknown setting '{former}': it is called {present} now"
    group, name = former.split(".")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({group: {name: None}}))
    assert main(["settings", f"--{former}", "1"]) == 2
    assert capsys.readouterr().err == f"mrkd: {line}\n"
    assert main(["settings", "--config", str(tmp_path / "own.yaml")]) == 2
    assert capsys.readouterr().err == f"mrkd: {tmp_path / 'own.yaml'}: {line}\n"
    assert (
        main(
            [
                "sweep",
                "--recipe",
                "quick",
                "--methods",
                "rkd-d",
                "--vary",
                f"{former}=1,2",
                "--out",
                str(tmp_path / "sweep"),
            ]
        )
        == 2
    )
    assert line in capsys.readouterr().err
    for refused in (
        lambda: build({former: None}),
        lambda: load_config("quick", **{former.replace(".", "__"): None}),
        lambda: flatten({group: {name: None}}, "recipe own"),
    ):
        with pytest.raises(UserError, match=f"unknown setting '{former}': it is called {present} now"):
            refused()


def test_a_former_name_in_a_term_is_refused_with_the_present_one():
    with pytest.raises(UserError, match=r"^unknown setting 'objective.terms.share': it is called grad_norm_ratio now$"):
        build({"objective.terms": [{"loss": "rkd-angle", "share": 0.5}]})
    with pytest.raises(UserError, match=r"^unknown setting 'objective.terms.wieght': did you mean 'weight'\?$"):
        build({"objective.terms": [{"loss": "rkd-angle", "wieght": 0.5}]})
