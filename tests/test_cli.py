import json

import pytest

from mrkd.cli import main

FAST = [
    "--recipe",
    "quick",
    "--data.train_images",
    "120",
    "--data.test_images",
    "60",
    "--train.epochs",
    "1",
    "--train.batch",
    "60",
    "--model.width",
    "16",
    "--model.depth",
    "1",
    "--model.heads",
    "2",
    "--evaluation.linear_epochs",
    "[1]",
    "--evaluation.finetune_epochs",
    "0",
    "--evaluation.cluster_restarts",
    "1",
    "--evaluation.cluster_head_epochs",
    "0",
    "--attention.images",
    "2",
]


def test_compare_makes_a_table_and_a_report_and_keeps_finished_runs(tmp_path, capfd):
    arguments = ["compare", *FAST, "--methods", "random,rkd-d", "--seeds", "0", "--out", str(tmp_path / "t")]
    assert main(arguments) == 0
    table = json.loads((tmp_path / "t" / "table.json").read_text())
    assert [row["method"] for row in table["rows"]] == ["random", "rkd-d"]
    assert 0 <= table["rows"][0]["knn"]["mean"] <= 100
    assert "k-NN" in (tmp_path / "t" / "table.md").read_text()
    assert "<svg" in (tmp_path / "t" / "report.html").read_text()
    capfd.readouterr()
    assert main(arguments) == 0
    assert capfd.readouterr().out.count("finished before, kept") == 2
    changed = [*arguments, "--train.batch", "40"]
    assert main(changed) == 2
    assert "other settings" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--method", "rkd-dd", "--out", "x"], "did you mean 'rkd-d'"),
        (["pretrain", "--train.epoch", "3", "--out", "x"], "did you mean 'train.epochs'"),
        (["pretrain", "--data", "/nope", "--out", "x"], "existing path"),
        (["pretrain", "--recipe", "quik", "--out", "x"], "did you mean 'quick'"),
        (["pretrain", "--config", "/nope.yaml", "--out", "x"], "no such config file"),
        (["pretrain"], "--out"),
        (["pretrain", "--out"], "expected one argument"),
        (["evaluate", "/nope"], "no run at"),
        (["report", "/nope"], "no finished run at"),
        (["methods", "--bogus", "1"], "unexpected argument"),
        (["compare", "--methods", "random", "--seeds", "a", "--out", "x"], "whole numbers"),
        (["bogus"], "invalid choice"),
    ],
)
def test_bad_input_is_one_line_and_status_two(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_one_method_is_shown_with_its_equation_and_yaml_that_config_takes(tmp_path, capsys):
    assert main(["methods", "ibot+structural"]) == 0
    shown = capsys.readouterr().out
    assert "Sinkhorn(cos(t_i, t_j) / T_t)" in shown
    settings = tmp_path / "own.yaml"
    settings.write_text(shown[shown.index("objective:") :])
    assert main(["settings", "--config", str(settings)]) == 0
    assert "anchors: teacher" in capsys.readouterr().out
    assert main(["methods", "structurall"]) == 2
    assert "did you mean 'structural'" in capsys.readouterr().err


def test_methods_and_settings_are_listed(capsys):
    assert main(["methods"]) == 0
    assert "rkd-a" in capsys.readouterr().out
    assert main(["settings", "--recipe", "quick", "--train.epochs", "7"]) == 0
    assert "epochs: 7" in capsys.readouterr().out


def test_short_forms_set_what_happens_at_nan_and_collapse(capsys):
    assert main(["settings", "--on-nonfinite", "skip", "--on-collapse", "stop"]) == 0
    shown = capsys.readouterr().out
    assert "on_nonfinite: skip" in shown
    assert "on_collapse: stop" in shown
    assert main(["settings", "--on-nonfinite", "ignore"]) == 2
    assert "train.on_nonfinite must be" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_status_two(monkeypatch, capsys):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrkd.cli._methods", full)
    assert main(["methods"]) == 2
    assert "the disk is full" in capsys.readouterr().err
