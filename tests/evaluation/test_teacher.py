"""The frozen teacher's own figures beside its student's."""

import shutil
from pathlib import Path

import pytest

import mrkd
from mrkd.cli import main
from mrkd.config.overrides import with_overrides
from mrkd.reporting.read import read_run
from mrkd.reporting.table import make_table, table_markdown
from tests.conftest import make_tiny_config


def evaluated_config(source: Path, method: str = "rkd-d"):
    few = {"evaluation.finetune_epochs": 0, "evaluation.cluster_head_epochs": 0, "evaluation.map_images": 0}
    return with_overrides(make_tiny_config(), {"teacher.source": str(source), "objective.method": method, **few})


@pytest.fixture(scope="module")
def family(trained_run, tmp_path_factory) -> tuple[Path, Path]:
    """A teacher and its student."""
    folder = tmp_path_factory.mktemp("family")
    shutil.copytree(trained_run, folder / "teacher")
    return folder / "teacher", mrkd.pretrain(evaluated_config(folder / "teacher"), folder / "student")


def test_the_teachers_figures_are_those_of_its_own_evaluation(family, capsys):
    teacher, student = family
    main(["evaluate", str(student)])
    said = capsys.readouterr().out
    found = read_run(student).evaluation["teacher"]
    own = mrkd.evaluate(teacher, evaluated_config(teacher))
    assert found["knn"] == own["knn"]
    assert found["linear"] == own["linear"]
    assert (found["source"], found["name"], found["size"]) == (str(teacher), "vit_tiny_patch16_224", 32)
    assert found["parameters"] == read_run(teacher).summary["parameters"]
    assert f"teacher {teacher}: k-NN {own['knn']['acc1']:.1f} %" in said
    assert "% of its k-NN" in said


def test_a_table_has_a_row_for_the_teacher(family):
    _, student = family
    mrkd.evaluate(student)
    table = make_table([read_run(student)])
    assert [row["method"] for row in table["rows"]] == ["rkd-d", f"teacher {family[0]}"]
    assert table["rows"][1]["seeds"] == []
    assert "seeds 0;" in table_markdown(table)


def test_a_teacher_that_is_gone_or_another_one_is_not_measured_and_said_to_be(family, capsys, tmp_path):
    teacher, student = family
    weights = teacher / "backbone.safetensors"
    kept = weights.read_bytes()
    try:
        weights.write_bytes((student / "backbone.safetensors").read_bytes())
        assert "teacher" not in mrkd.evaluate(student)
        assert f"the teacher is not measured: {teacher} holds other weights now" in capsys.readouterr().out
        weights.unlink()
        assert "teacher" not in mrkd.evaluate(student)
        assert "the teacher is not measured: " in capsys.readouterr().out
    finally:
        weights.write_bytes(kept)


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_methods_are_compared_with_one_teacher_and_those_that_learn_nothing_from_it_train_without(
    family, tmp_path, capfd
):
    teacher, _ = family
    table = mrkd.compare(evaluated_config(teacher), ["random", "rkd-d"], [0], tmp_path / "table").results
    assert [row["method"] for row in table["rows"]] == ["pixels", "random", "rkd-d", f"teacher {teacher}"]
    assert "train without: random" in capfd.readouterr().out
