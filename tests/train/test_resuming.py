"""Trainings that are put down, killed or disturbed, and taken up again."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mrkd
from mrkd.cli import main
from mrkd.cli.verbs import VERBS
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from tests.helpers.fast_settings import FAST
from tests.helpers.interruptions import assert_like, newest_step, settings
from tests.helpers.stopping import stopped

STEPS = 24  # of interruptions.settings()


def test_a_run_stopped_in_the_middle_of_an_epoch_ends_as_if_undisturbed(whole, tmp_path):
    stop = stopped(settings(), tmp_path / "run", 4)
    assert str(stop).startswith("SIGTERM: stopped after step 4 of 24; go on with: mrkd pretrain --resume")
    assert stop.status == 143
    assert newest_step(tmp_path / "run") == 4
    assert stopped(settings(), tmp_path / "run", 17, signal.SIGINT).status == 130
    mrkd.pretrain(settings(), tmp_path / "run")
    assert_like(tmp_path / "run", whole)


def test_a_line_cut_off_by_a_crash_and_lines_after_the_checkpoint_are_written_again(whole, tmp_path):
    stopped(settings(), tmp_path / "run", 7)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "loss": 1.0}\n{"step": 9, "lo')
    mrkd.pretrain(settings(), tmp_path / "run")
    assert_like(tmp_path / "run", whole)


def test_a_damaged_checkpoint_costs_one_interval_and_changes_nothing(whole, tmp_path, capsys):
    stopped(settings(), tmp_path / "run", 10)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    mrkd.pretrain(settings(), tmp_path / "run")
    said = capsys.readouterr().out
    assert f"{newest} is damaged" in said
    assert "going back to step 9" in said
    assert_like(tmp_path / "run", whole)


def test_a_second_signal_leaves_at_once(tmp_path):
    script = (
        "import os, signal, time\nfrom mrkd.system.signals import StopRequest\n"
        "with StopRequest() as request:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    assert request.received\n"
        "    print('still here', flush=True)\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (143, "still here\n")


def test_sigterm_where_nothing_is_trained_is_one_line_and_status_143(monkeypatch, capsys):
    killed = dataclasses.replace(VERBS["methods"], run=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setitem(VERBS, "methods", killed)
    assert main(["methods"]) == 143
    assert capsys.readouterr().err == "mrkd: SIGTERM: stopped\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_changed_setting_is_refused_with_both_values_and_harmless_ones_are_taken(tmp_path):
    stopped(settings(), tmp_path / "run", 4)
    before = (tmp_path / "run" / "config.yaml").read_text()
    for change, shown in (
        ({"optim.learning_rate": 0.5}, "optim.learning_rate: 0.016 → 0.5"),
        ({"train.seed": 3}, "train.seed: 0 → 3"),
        ({"train.epochs": 7}, "train.epochs: 8 → 7"),
    ):
        with pytest.raises(UserError, match="unfinished run with other settings") as caught:
            mrkd.pretrain(settings(**change), tmp_path / "run")
        assert f"({shown})" in str(caught.value)
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    changed = settings(**{"train.log_steps": 6, "train.epochs": 9, "evaluation.k": 5, "train.checkpoint_steps": 100})
    mrkd.pretrain(changed, tmp_path / "run")
    rows = [row["step"] for row in RunDirectory(tmp_path / "run").metrics()]
    assert rows == [0, 1, 2, 3, 4, 6, 9, 12, 18, 24, 27]
    assert RunDirectory(tmp_path / "run").config() == changed


def test_a_checkpoint_of_another_network_is_refused_in_one_line(tmp_path):
    stopped(settings(), tmp_path / "run", 4)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("  width: 16", "  width: 32"))
    with pytest.raises(UserError, match="the checkpoint does not fit this config"):
        mrkd.pretrain(settings(**{"model.width": 32}), tmp_path / "run")


def test_a_finished_run_given_again_is_left_as_it_is(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert mrkd.pretrain(settings(), tmp_path / "run") == tmp_path / "run"
    assert "is finished" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_resume_on_the_command_line_takes_the_runs_own_settings(whole, tmp_path, capsys):
    stopped(settings(), tmp_path / "run", 5)
    assert main(["pretrain", "--resume", str(tmp_path / "run"), "--train.batch", "20"]) == 2
    assert "train.batch: 40 → 20" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(tmp_path / "run"), "--recipe", "quick"]) == 2
    assert "leave out --recipe" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(tmp_path / "nothing")]) == 2
    assert main(["pretrain", "--resume", str(tmp_path / "run")]) == 0
    assert_like(tmp_path / "run", whole)


def test_a_damaged_line_in_the_middle_of_the_metrics_is_named(tmp_path):
    stopped(settings(), tmp_path / "run", 4)
    metrics = tmp_path / "run" / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    for damaged in ('{"step": 1, "lo', "[]", '{"loss": 1}'):
        metrics.write_text("\n".join([lines[0], damaged, *lines[2:]]) + "\n")
        with pytest.raises(UserError, match=r"metrics\.jsonl line 2 must be a JSON object with a step"):
            mrkd.pretrain(settings(), tmp_path / "run")


def test_broken_images_are_named_in_a_file_of_the_run(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number in range(30):
        Image.effect_noise((32, 32), 10 + number).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "<b>broken.png").write_bytes(b"nothing")
    config = settings(**{"data.source": str(tmp_path / "images"), "train.batch": 20, "train.epochs": 1})
    path = mrkd.pretrain(config, tmp_path / "run")
    assert json.loads((path / "broken.json").read_text()) == ["<b>broken.png"]


def test_a_stream_that_goes_on_keeps_the_names_of_the_broken_images_it_met_before(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number in range(40):
        Image.effect_noise((32, 32), 10 + number).save(tmp_path / "images" / f"{number:02d}.png")
    for name in ("03.png", "30.png"):
        (tmp_path / "images" / name).write_bytes(b"nothing")
    config = settings(
        **{
            "data.source": str(tmp_path / "images"),
            "data.mode": "stream",
            "data.max_broken_fraction": 0.1,
            "data.workers": 1,
            "train.batch": 20,
            "train.epochs": 3,
            "train.log_steps": 1,
        }
    )
    stopped(config, tmp_path / "run", 3)
    assert json.loads((tmp_path / "run" / "broken.json").read_text())
    (tmp_path / "run" / "broken.json").write_text('["met before.png"]')
    mrkd.pretrain(config, tmp_path / "run")
    assert set(json.loads((tmp_path / "run" / "broken.json").read_text())) >= {"met before.png", "03.png", "30.png"}


def killed(folder: Path, kills: int, seed: int) -> dict:
    command = [
        sys.executable,
        str(Path(__file__).parent.parent / "helpers" / "interruptions.py"),
        str(folder),
        str(kills),
        str(seed),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_handful_of_kills_loses_no_more_than_the_interval_and_changes_nothing(tmp_path):
    assert killed(tmp_path, 3, seed=0)["kills"] == 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_lose_no_more_than_the_interval_and_change_nothing(tmp_path):
    result = killed(tmp_path, 100, seed=1)
    assert result["kills"] == 100
    assert {"outside", "write", "replace", "fsync"} == set(result["died_in"])
    assert result["worst_loss_steps"] <= 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interrupted_comparison_passes_the_signal_on_and_takes_up_where_it_stopped(tmp_path, monkeypatch):
    import time

    command = [sys.executable, "-m", "mrkd", "compare", *FAST, "--methods", "rkd-d", "--jobs", "2"]
    command += ["--train.epochs", "60", "--train.log_steps", "1", "--train.monitor_times", "1"]
    command += ["--out", str(tmp_path / "table")]
    run = tmp_path / "table" / "runs" / "rkd-d-seed0"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (run / "metrics.jsonl").is_file() or len(RunDirectory(run).metrics()) < 4:
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 143
    assert "SIGTERM: stopped in" in errors
    assert errors.count("\n") == 1
    reached = newest_step(run)
    assert reached >= 3
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"goes on after step {reached}" in ended.stdout
    assert (tmp_path / "table" / "report.html").is_file()
