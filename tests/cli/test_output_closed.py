"""Commands whose output is closed: they do all of their work, and say so by their exit status."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrkd.runs.run import RunDirectory
from tests.helpers.fast_settings import FAST

MRKD = [sys.executable, "-m", "mrkd"]


def closed_pipe() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def pretrain(out: Path, *more: str) -> list[str]:
    return [*MRKD, "pretrain", *FAST, "--method", "rkd-d", "--out", str(out), *more]


def wait_for_rows(run: Path, rows: int, child: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").is_file() or len(RunDirectory(run).metrics()) < rows:
        assert time.monotonic() < deadline
        assert child is None or child.poll() is None, child.stderr and child.stderr.read()
        time.sleep(0.05)


def test_a_training_whose_reader_has_gone_does_everything_and_ends_with_0(tmp_path):
    command = pretrain(tmp_path / "run", "--then", "evaluate,report", "--train.log_steps", "1")
    done = subprocess.run(command, stdout=closed_pipe(), stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert RunDirectory(tmp_path / "run").finished
    for name in ("evaluation.json", "report.html"):
        assert (tmp_path / "run" / name).is_file()


def test_a_failure_is_no_success_though_nobody_reads(tmp_path):
    (tmp_path / "run").write_text("a file")
    done = subprocess.run(pretrain(tmp_path / "run"), stdout=closed_pipe(), stderr=closed_pipe(), check=False)
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_text_that_found_no_room_is_told_and_is_no_success():
    for words in (["methods"], ["--help"], ["--version"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([*MRKD, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr == "mrkd: a part of the printed text was lost (the disk is full); files are complete\n"


@pytest.mark.slow
def test_a_training_goes_on_when_its_terminal_is_closed(tmp_path):
    own, theirs = pty.openpty()
    command = pretrain(tmp_path / "run", "--train.epochs", "40", "--train.log_steps", "1")
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    wait_for_rows(tmp_path / "run", 3)
    os.close(own)
    child.send_signal(signal.SIGHUP)
    assert child.wait(timeout=120) == 0
    assert RunDirectory(tmp_path / "run").finished


@pytest.mark.slow
def test_the_runs_of_a_killed_comparison_go_on_to_their_end_without_it(tmp_path):
    command = [*MRKD, "compare", *FAST, "--methods", "rkd-d,random", "--jobs", "2", "--out", str(tmp_path / "table")]
    command += ["--train.epochs", "40", "--train.log_steps", "1"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "table" / "runs" / "rkd-d-seed0"
    wait_for_rows(run, 3, child)
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 120
    while not (run / "attention.png").is_file() or RunDirectory(run).being_written:
        assert time.monotonic() < deadline, f"{(run / 'failure.json').is_file()=}"
        time.sleep(0.1)
    assert RunDirectory(run).finished
    assert not (run / "failure.json").exists()


@pytest.mark.slow
def test_a_comparison_whose_reader_has_gone_makes_its_table(tmp_path):
    command = [*MRKD, "compare", *FAST, "--methods", "rkd-d,random", "--jobs", "2", "--out", str(tmp_path / "table")]
    done = subprocess.run(command, stdout=closed_pipe(), stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "table" / "report.html").is_file()
