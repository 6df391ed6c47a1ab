"""Sweeps in processes of their own: stopped ones, and several on one study."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mrkd.runs.run import METRICS


def command(out, *, steps):
    return [
        sys.executable, "-m", "mrkd", "sweep", "--recipe", "quick", "--data.train_images", "100", "--train.batch", "20",
        "--model.width", "16", "--model.depth", "1", "--model.heads", "2", "--train.steps", str(steps),
        "--train.monitor_times", "4", "--methods", "rkd-d", "--vary", "optim.learning_rate=0.002..0.02:log",
        "--trials", "2", "--no-pruning", "--out", str(out),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_in_the_middle_of_its_trial(tmp_path):
    out = tmp_path / "s"
    process = subprocess.Popen(command(out, steps=200), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = out / "trials" / "rkd-d-000" / METRICS
    deadline = time.monotonic() + 60
    while not metrics.is_file() or metrics.read_text().count("\n") < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on from there" in errors
    before = metrics.read_text()
    reached = json.loads(before.splitlines()[-1])["step"]
    assert 0 < reached < 200

    ended = subprocess.run(command(out, steps=200), capture_output=True, text=True, check=True, timeout=120)
    assert "rkd-d-000 k-NN" in ended.stdout
    trials = json.loads((out / "sweep.json").read_text())["methods"]["rkd-d"]["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    assert metrics.read_text().startswith(before[: len(before) // 2]), "the trial began anew"
    assert json.loads(metrics.read_text().splitlines()[-1])["step"] == 200
    assert "UserWarning" not in ended.stderr


@pytest.mark.slow
def test_two_processes_share_the_trials_of_one_study(tmp_path):
    both = [
        subprocess.Popen(command(tmp_path / "s", steps=30), stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(2)
    ]
    shown = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    ended = [line.split()[1] for text in shown for line in text.splitlines() if line.startswith("── ")]
    assert sorted(ended) == ["rkd-d-000", "rkd-d-001"]
