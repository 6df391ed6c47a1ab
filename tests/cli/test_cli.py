import dataclasses
import json
import os
import subprocess
import sys
from unittest.mock import ANY

import pytest

from mrkd.cli import main
from mrkd.cli.options import parse_overrides
from mrkd.cli.verbs import VERBS
from mrkd.config.keys import known_keys
from mrkd.errors import UserError
from tests.helpers.fast_settings import FAST


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_compare_makes_a_table_and_a_report_and_keeps_finished_runs(tmp_path, capfd):
    arguments = ["compare", *FAST, "--methods", "random,rkd-d", "--seeds", "0", "--out", str(tmp_path / "t")]
    assert main(arguments) == 0
    table = json.loads((tmp_path / "t" / "table.json").read_text())
    assert [row["method"] for row in table["rows"]] == ["pixels", "random", "rkd-d"]
    assert 0 <= table["rows"][0]["knn"]["mean"] <= 100
    assert "k-NN" in (tmp_path / "t" / "table.md").read_text()
    assert "<b>random-seed0</b>" in (tmp_path / "t" / "report.html").read_text()
    printed = capfd.readouterr().out
    end = printed[printed.index(table["conclusion"]) :].splitlines()
    assert end[1].split() == ["method", "k-NN", "linear", "k-means", "RankMe", "train", "s"]
    assert [line.split()[0] for line in end[2:5]] == ["pixels", "random", "rkd-d"]
    assert end[-1] == f"report: {tmp_path / 't' / 'report.html'}"
    assert main(arguments) == 0
    assert capfd.readouterr().out.count("finished before, kept") == 2
    one = str(tmp_path / "t" / "runs" / "random-seed0")
    assert main(["evaluate", one, "--data.test_images", "30"]) == 0
    assert main(arguments) == 0  # a run with other evaluation settings is evaluated again
    assert capfd.readouterr().out.count("finished before, kept") == 1
    assert json.loads((tmp_path / "t" / "table.json").read_text()) == {**table, "rows": ANY}
    changed = [*arguments, "--train.batch", "40"]
    assert main(changed) == 2
    assert "other settings" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--method", "rkd-dd", "--out", "x"], "did you mean 'rkd-d'"),
        (["pretrain", "--train.epoch", "3", "--out", "x"], "did you mean 'train.epochs'"),
        (["pretrain", "--epoch", "3", "--out", "x"], "unknown setting 'epoch': did you mean '--epochs'?"),
        (["pretrain", "--batchsize", "3", "--out", "x"], "did you mean '--batch-size'?"),
        (["pretrain", "--lr", "3", "--out", "x"], "did you mean 'optim.learning_rate'?"),
        (["compare", "--methods", "rkd-d", "--method", "a", "--out", "x"], "did you mean '--methods'?"),
        (["pretrain", "--epochs", "2", "--minutes", "1", "--train.steps", "3", "--out", "x"], "a run has one length"),
        (["pretrain", "--logger", "null", "--out", "x"], "train.logger must be Literal['none', "),
        (["pretrain", "--train.seed", "-1", "--out", "x"], "train.seed must be 0 or more"),
        (["pretrain", "--data", "/nope", "--out", "x"], "existing path"),
        (["pretrain", "--recipe", "quik", "--out", "x"], "did you mean 'quick'"),
        (["pretrain", "--config", "/nope.yaml", "--out", "x"], "no such config file"),
        (["pretrain"], "--out"),
        (["pretrain", "--out"], "expected one argument"),
        (["evaluate", "/nope"], "no run at"),
        (["pretrain", "--out", ""], "'out' must not be empty: give a value, or leave it out"),
        (["evaluate", " "], "'run' must not be empty"),
        (["report", "a", ""], "'runs' must not be empty"),
        (["runs", ""], "'folder' must not be empty"),
        (["report", "/nope"], "no run at"),
        (["methods", "--bogus", "1"], "unexpected argument '--bogus': this verb takes no settings"),
        (["compare", "--methods", "random", "--seeds", "a", "--out", "x"], "whole numbers"),
        (["evaluat", "x"], "unknown verb 'evaluat': did you mean 'evaluate'"),
        (["--help", "expot"], "did you mean 'export'"),
        (["evaluate", "x", "--help", "al"], "did you mean 'all'"),
    ],
)
def test_bad_input_gives_one_line_and_status_two(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_option_of_other_verbs_is_named_by_its_setting():
    with pytest.raises(UserError, match=r"^unknown setting 'data': did you mean 'data.source'\?$"):
        parse_overrides(["--data", "photos"])
    with pytest.raises(UserError, match=r"did you mean 'train.seed' or 'evaluation.seed'\?$"):
        parse_overrides(["--seed", "3"])


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--chekpoint", "'--checkpoint'"),  # an option of this verb
        ("--minutes", "'train.minutes'"),  # an option of other verbs only
        ("--epoch", "'train.epochs'"),
        ("--method", "'objective.method'"),
    ],
)
def test_hints_for_an_unknown_option_prefer_options_of_the_verb(word, meant):
    with pytest.raises(UserError, match=rf"did you mean {meant}\?$"):
        parse_overrides([word, "3"], ["--data", "--out", "--tokens", "--checkpoint"])


def test_a_file_of_another_kind_is_refused_as_weights(tmp_path):
    from mrkd.config import ModelConfig
    from mrkd.model.backbone import create_vit
    from mrkd.runs.initial_weights import load_weights

    path = tmp_path / "env.sh"
    vit = create_vit(ModelConfig(width=16, depth=1, heads=1), 32)
    for content in ("export A=1\n", "0\n", "}\n", ".\n", "(lp0\n.", ""):
        path.write_text(content)
        with pytest.raises(UserError, match=r"cannot read .*env.sh .*: expected a safetensors file, or .*another"):
            load_weights(vit, str(path))


def test_one_method_is_shown_with_its_equation_and_yaml_for_config(tmp_path, capsys):
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


@pytest.mark.parametrize("spelling", ["RKD-D", "rkd_d", "iBOT + RKD-D"])
def test_methods_may_be_spelt_as_in_their_papers(spelling, capsys):
    assert main(["settings", "--method", spelling]) == 0
    assert f"method: {'ibot+rkd-d' if '+' in spelling else 'rkd-d'}\n" in capsys.readouterr().out
    assert main(["methods", spelling]) == 0


def test_settings_of_an_unknown_method_are_refused(capsys):
    assert main(["settings", "--method", "rkd-x"]) == 2
    assert "unknown method 'rkd-x': did you mean 'rkd-" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["help"], ["help", "pretrain"]])
def test_help_may_be_asked_for_as_a_verb(words, capsys):
    shown = []
    for arguments in (words, ["--help", *words[1:]]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "mrkd pretrain" in shown[0]


def test_the_help_of_a_verb_states_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "images per step, or auto (default 256)" in shown
    assert "whole numbers joined by commas (default 0)" in shown


def test_short_options_set_the_reaction_to_nan_and_collapse(capsys):
    assert main(["settings", "--on-nonfinite", "skip", "--on-collapse", "stop"]) == 0
    shown = capsys.readouterr().out
    assert "on_nonfinite: skip" in shown
    assert "on_collapse: stop" in shown
    assert main(["settings", "--on-nonfinite", "ignore"]) == 2
    assert "train.on_nonfinite must be" in capsys.readouterr().err


def test_a_full_disk_gives_one_line_and_status_two(monkeypatch, capsys):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(VERBS, "methods", dataclasses.replace(VERBS["methods"], run=full))
    assert main(["methods"]) == 2
    assert "the disk is full" in capsys.readouterr().err


def test_mrkd_without_arguments_shows_every_verb_with_an_example(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for verb in VERBS.values():
        assert verb.summary in shown
        assert verb.example in shown


@pytest.mark.parametrize("name", VERBS)
def test_help_of_a_verb_fits_a_screen_and_ends_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert VERBS[name].example in shown
    assert shown.count("\n") < 55


def test_help_all_has_every_option_and_every_setting_with_its_text(capsys):
    with pytest.raises(SystemExit):
        main(["--help", "all"])
    shown = capsys.readouterr().out
    for key in known_keys():
        assert f"--{key} " in shown
    assert "--on-collapse" in shown
    assert "--train.epochs int (default 100)\n      Number of passes over the training images." in shown


def test_the_parser_accepts_the_examples_of_all_verbs():
    import shlex

    from mrkd.cli.parser import make_parser

    parser = make_parser(VERBS)
    for verb in VERBS.values():
        if verb.name != "completion":
            options, extra = parser.parse_known_args(shlex.split(verb.example)[1:])
            assert options.verb == verb.name
            assert not extra or verb.takes_settings


def test_help_and_error_messages_do_not_import_torch():
    code = (
        "import sys; from mrkd.cli import main; "
        "[main(words) for words in ([], ['pretrain', '--train.epoch', '3', '--out', 'x'], ['evaluate', '/nope'])]; "
        "heavy = {'torch', 'timm', 'numpy', 'scipy'} & set(sys.modules); print('heavy:', heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: set()" in done.stdout


def complete(line: str) -> list[str]:
    """The completions that a shell would offer at the end of `line`."""
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    code = "import os; from mrkd.cli import main; import argcomplete; os.dup2(1, 8); main()"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.split("\n")


def test_the_shell_completes_verbs_options_recipes_and_settings():
    assert "pretrain" in complete("mrkd pre")
    assert "--recipe" in complete("mrkd pretrain --rec")
    assert "quick" in complete("mrkd pretrain --recipe q")
    assert "--train.epochs" in complete("mrkd pretrain --train.ep")
    assert "--train.epochs" not in complete("mrkd report --train.ep")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed_for_each_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "mrkd" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["random", "rkd-d", "ibot+structural"])
def test_the_printed_yaml_of_a_method_is_a_config_with_its_terms(name, tmp_path, capsys):
    from mrkd.cli import load_config
    from mrkd.objective.resolve import resolve_terms

    assert main(["methods", name]) == 0
    settings = tmp_path / "own.yaml"
    settings.write_text(capsys.readouterr().out)
    config = load_config("quick", settings)
    assert config.objective.method == name
    assert resolve_terms(config.objective) == resolve_terms(load_config(objective__method=name).objective)


def test_windows_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("mrkd.errors.sys.platform", "win32")
    assert main(["methods"]) == 2
    assert capsys.readouterr().err == (
        "mrkd: mrkd runs on Linux and macOS, got Windows: use WSL, or `mrkd.losses` alone\n"
    )


def test_a_current_folder_that_was_removed_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "mrkd: the current folder has been removed: change to another one\n"
