import dataclasses
import json
import shutil

import pytest
import torch

import mrkd
from mrkd.cli import main
from mrkd.errors import UserError
from mrkd.reporting.listing import describe_age, list_runs, natural_key
from mrkd.runs.run import Run


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
    holder = Run.start(running, Run(running).config())
    try:
        lines = {line.name: line for line in list_runs(tmp_path)}
    finally:
        holder.close()
    assert {name: line.state for name, line in lines.items()} == {
        f"b-{state}": state for state in ("finished", "stopped", "running", "damaged")
    }
    rows = Run(trained_run).metrics()
    line = lines["b-finished"]
    assert (line.method, line.data, line.step, line.steps) == ("ibot+rkd-d", "digits", 4, 4)
    assert line.knn == rows[-1]["knn"]
    assert line.best_knn == max(row["knn"] for row in rows if "knn" in row)
    assert "line 1 must be a JSON object" in lines["b-damaged"].reason


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
