"""Trainings in processes of their own, of which one is killed."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_output_closed import MRKD, wait_for_rows
from tests.helpers.fast_settings import FAST
from tests.helpers.sources import fill
from tests.studies.test_sweep_processes import command as sweep_command


def kill_child(parent: "subprocess.Popen[str]", run: Path) -> None:
    """Kill the training in `run` as a machine does that has no memory left."""
    wait_for_rows(run, 3, parent)
    [child] = subprocess.check_output(["pgrep", "-P", str(parent.pid), "-f", f"/{run.name}"], text=True).split()
    os.kill(int(child), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_one_killed_run_of_a_comparison_is_named_and_the_same_command_makes_it_good(tmp_path, jobs):
    out = tmp_path / "table"
    command = [*MRKD, "compare", *FAST, "--methods", "rkd-d,random", "--out", str(out), "--train.epochs", "40"]
    command += ["--jobs", jobs]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kill_child(child, out / "runs" / "rkd-d-seed0")
    said, errors = child.communicate(timeout=120)
    assert child.returncode == 2
    assert "rkd-d-seed0 failed: killed by SIGKILL" in said
    assert errors.startswith("mrkd: 1 of 2 runs failed, rkd-d-seed0: killed by SIGKILL")
    assert (out / "table.json").is_file()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "random-seed0: finished before, kept" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_one_killed_trial_of_a_sweep_counts_as_failed_and_the_others_go_on(tmp_path, jobs):
    out = tmp_path / "s"
    command = [*sweep_command(out, steps=150), "--jobs", jobs]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kill_child(child, out / "trials" / "rkd-d-000")
    said, errors = child.communicate(timeout=200)
    assert child.returncode == 0, errors
    assert "rkd-d-000 failed: killed by SIGKILL" in said
    trials = json.loads((out / "sweep.json").read_text())["methods"]["rkd-d"]["trials"]
    assert [trial["state"] for trial in trials] == ["fail", "complete"]


@pytest.mark.slow
def test_a_comparison_goes_on_where_its_images_were_moved_to_and_not_with_others(tmp_path):
    images = fill(tmp_path / "images", "cat", "dog", each=20)
    out = tmp_path / "table"

    def compare(source: Path) -> "subprocess.CompletedProcess[str]":
        command = [*MRKD, "compare", *FAST, "--methods", "rkd-d,random", "--no-references", "--out", str(out)]
        command += ["--data", str(source), "--train.batch", "8"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert compare(images).returncode == 0
    weights = (out / "runs" / "rkd-d-seed0" / "backbone.safetensors").read_bytes()
    moved = images.rename(tmp_path / "moved")
    done = compare(moved)
    assert done.returncode == 0, done.stderr
    for name in ("rkd-d-seed0", "random-seed0"):
        assert json.loads((out / "runs" / name / "evaluation.json").read_text())["measured_with"]["data"][
            "source"
        ] == str(moved)
    assert (out / "runs" / "rkd-d-seed0" / "backbone.safetensors").read_bytes() == weights
    assert compare(moved).stdout.count("finished before, kept") == 2
    others = fill(tmp_path / "others", "cat", "dog", each=21)
    done = compare(others)
    assert done.returncode == 2
    assert "the training images have changed" in done.stderr
