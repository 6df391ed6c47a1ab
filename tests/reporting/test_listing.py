import dataclasses
import json
import os
import shutil

import pytest
import torch
import yaml

import mrkd
from mrkd.cli import main
from mrkd.config.overrides import to_dict
from mrkd.errors import UserError
from mrkd.reporting.listing import describe_age, list_runs, natural_key
from mrkd.runs.run import RunDirectory
from tests.helpers.made_up_runs import make_run


def copy(run, folder):
    shutil.copytree(run, folder)
    return folder


def test_states_of_runs_are_distinguished(trained_run, tmp_path):
    copy(trained_run, tmp_path / "b-finished")
    (copy(trained_run, tmp_path / "b-stopped") / "summary.json").unlink()
    running = copy(trained_run, tmp_path / "b-running")
    (running / "summary.json").unlink()
    damaged = copy(trained_run, tmp_path / "b-damaged")
    (damaged / "metrics.jsonl").write_text("no json\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: 1\n")  # not a run
    holder = RunDirectory.start(running, RunDirectory(running).config())
    try:
        lines = {line.name: line for line in list_runs(tmp_path)}
    finally:
        holder.close()
    assert {name: line.state for name, line in lines.items()} == {
        f"b-{state}": state for state in ("finished", "stopped", "running", "damaged")
    }
    rows = RunDirectory(trained_run).metrics()
    line = lines["b-finished"]
    assert (line.method, line.data, line.step, line.steps) == ("ibot+rkd-d", "digits", 4, 4)
    assert line.knn == rows[-1]["knn"]
    assert line.best_knn == max(row["knn"] for row in rows if "knn" in row)
    assert "line 1 must be a JSON object" in lines["b-damaged"].reason


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (0, "finished, but metrics.jsonl is missing or holds nothing"),
        (-1, "finished, but metrics.jsonl ends with step 3 of 4: it was cut off"),
    ],
)
def test_metrics_that_do_not_reach_the_end_of_a_finished_run_are_told(trained_run, tmp_path, lines, reason):
    file = copy(trained_run, tmp_path / "run") / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:lines]))
    [line] = list_runs(tmp_path)
    assert (line.state, line.reason) == ("finished", reason)


def test_a_failed_run_shows_its_error_until_it_is_resumed(tiny_config, tmp_path, monkeypatch):
    from mrkd.objective.loss_table import LOSSES

    with monkeypatch.context() as patch:
        nan = dataclasses.replace(LOSSES["koleo"], value=lambda *_: torch.tensor(torch.nan, requires_grad=True))
        patch.setitem(LOSSES, "koleo", nan)
        objective = dataclasses.replace(tiny_config.objective, method="ibot", koleo=0.1)
        config = dataclasses.replace(tiny_config, objective=objective)
        with pytest.raises(UserError):
            mrkd.pretrain(config, tmp_path / "run")
    [line] = list_runs(tmp_path)
    assert line.state == "failed"
    assert "the term koleo became nan" in line.reason
    mrkd.pretrain(config, tmp_path / "run")
    assert list_runs(tmp_path / "run")[0].state == "finished"


DAMAGE = {
    "failure.json": ["[" * 100_000, "{}", "[]", '{"reason": {}}', "7"],
    "metrics.jsonl": [
        "[" * 100_000 + "\n",
        '{"step": 1, "epoch": 1' + "0" * 5000 + ', "knn": 1}\n',
        '{"step": 1, "epoch": 1e-320}\n',
        '{"step": 1, "epoch": "x"}\n',
        '{"step": 1}\n',
        '{"step": 1, "epoch": 1, "knn": 1e999}\n',
        '{"step": 1, "epoch": 1, "knn": "many"}\n',
        '{"step": 1, "epoch": 1, "knn": NaN}\n',
    ],
    "config.yaml": [
        "[" * 100_000,
        "- " * 100_000 + "a",
        "a: &a [1]\nb: *a\n",
        "train: {seed: 1" + "0" * 5000 + "}\n",
        "",
        "train:\n  seed: x\n",
        "\x00",
    ],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name in DAMAGE for text in DAMAGE[name]])
def test_one_damaged_run_hides_no_other(tmp_path, capsys, name, content):
    make_run(tmp_path / "good")
    (make_run(tmp_path / "bad", finished=False) / name).write_text(content)
    assert main(["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert " finished " in shown[2]
    states = {line.name: line.state for line in list_runs(tmp_path)}
    assert states["good"] == "finished"
    assert states["bad"] in ("damaged", "failed")


@pytest.mark.timeout(30)
def test_pipes_and_links_in_a_run_hide_no_other(tmp_path):
    make_run(tmp_path / "good")
    for number, name in enumerate(("config.yaml", "run.lock", "failure.json", "metrics.jsonl")):
        run = make_run(tmp_path / f"pipe-{number}", finished=False)
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
    link = make_run(tmp_path / "link", finished=False)
    (link / "run.lock").symlink_to(tmp_path / "nothing")
    states = {line.name: line.state for line in list_runs(tmp_path)}
    assert states["good"] == "finished"
    assert states["pipe-0"] == states["pipe-1"] == states["link"] == "damaged"


def test_names_in_a_list_of_runs_cannot_steer_the_terminal(tmp_path, capsys):
    make_run(tmp_path / "a\x1b[2J\nb", method="ibot\x1b]0;x\x07\u202e")
    assert main(["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2
    assert r"a\x1b[2J\nb" in shown
    assert r"ibot\x1b]0;x\x07\u202e" in shown


@pytest.mark.slow
def test_a_thousand_runs_are_listed_in_three_seconds(tmp_path, tiny_config):
    import time

    text = yaml.safe_dump(to_dict(tiny_config), sort_keys=False)
    for number in range(1000):
        (make_run(tmp_path / f"run-{number}") / "config.yaml").write_text(text)
    before = time.process_time()
    lines = list_runs(tmp_path)
    assert time.process_time() - before < 3.0
    assert len(lines) == 1000
    assert {line.state for line in lines} == {"finished"}


def test_names_are_in_natural_order():
    names = ["run-10", "run-2", "a/seed1", "run-2b", "Run-1", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "a/seed1", "Run-1", "run-2", "run-2b", "run-10"]


def test_ages_are_in_a_readable_unit():
    assert [describe_age(seconds) for seconds in (5, 190, 7300, 200_000)] == ["5 s", "3 min", "2 h", "2 d"]


def test_the_command_prints_a_line_for_each_and_a_summary_of_an_untrained_one(trained_run, tmp_path, capsys):
    copy(trained_run, tmp_path / "one")
    metrics = json.loads((trained_run / "metrics.jsonl").read_text().splitlines()[0])
    (copy(trained_run, tmp_path / "two") / "metrics.jsonl").write_text(json.dumps(metrics) + "\n")
    assert main(["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["run", "method", "data", "seed", "steps", "state", "k-NN", "best", "verdict", "written"]
    assert "4/4" in shown[1]
    assert "0/?" in shown[2]
    assert main(["runs", str(tmp_path / "nothing")]) == 2


def test_runs_are_listed_without_torch(trained_run, tmp_path):
    import subprocess
    import sys

    copy(trained_run, tmp_path / "one")
    code = f"import sys; from mrkd.cli import main; main(['runs', {str(tmp_path)!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
