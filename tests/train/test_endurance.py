"""Trainings under strain: long ones, stopped and continued ones, with little memory, with other threads."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import mrkd
from mrkd.cli import main
from mrkd.cli.verbs import VERBS
from mrkd.runs.run import RunDirectory
from tests.helpers.fast_settings import FAST
from tests.helpers.interruptions import assert_like, settings
from tests.helpers.stopping import stopped

MRKD = [sys.executable, "-m", "mrkd"]


def pretrain(out: Path, *more: str) -> list[str]:
    return [*MRKD, "pretrain", *FAST, "--method", "rkd-d", "--out", str(out), *more]


def last_step(run: Path) -> int:
    return max((row["step"] for row in RunDirectory(run).metrics()), default=-1)


def needs_of(process: int) -> tuple[float, int, int]:
    """MiB that are resident, open files, and threads."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    counts = [len(os.listdir(f"/proc/{process}/{kind}")) for kind in ("fd", "task")]
    return pages * resource.getpagesize() / 2**20, counts[0], counts[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_two_thousand_steps_need_no_more_memory_files_and_threads_than_two_hundred(tmp_path, mode):
    for number in range(150):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 10 + number).save(path)
    command = pretrain(tmp_path / "run", "--train.epochs", "1050", "--train.log_steps", "10", "--data.mode", mode)
    command += ["--data", str(tmp_path / "images") if mode == "stream" else "digits"]
    command += ["--train.monitor_times", "100", "--train.checkpoint_steps", "50"]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
    found = {}
    for step in (200, 2000):
        while last_step(tmp_path / "run") < step:
            assert child.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.3)
        found[step] = needs_of(child.pid)
    assert child.wait(timeout=120) == 0
    print(f"MiB, files and threads at steps 200 and 2,000: {found}")
    assert found[2000][0] < found[200][0] + 40
    assert found[2000][1] <= found[200][1] + 1
    assert found[2000][2] <= found[200][2]


@pytest.mark.slow
def test_a_training_that_is_stopped_and_continued_by_the_system_ends_with_the_same_numbers(tmp_path):
    whole = mrkd.pretrain(settings(), tmp_path / "whole")
    script = "import sys, torch, mrkd\nfrom tests.helpers.interruptions import settings\ntorch.set_num_threads(1)\n"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{script}mrkd.pretrain(settings(), sys.argv[1])", tmp_path / "run"]
    )
    while last_step(tmp_path / "run") < 24:
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        child.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        if child.poll() is not None:
            break
    assert child.wait(timeout=60) == 0
    assert_like(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_threads(tmp_path):
    stopped(settings(), tmp_path / "run", 5)
    torch.set_num_threads(2)
    try:
        mrkd.pretrain(settings(), tmp_path / "run")
    finally:
        torch.set_num_threads(1)
    assert RunDirectory(tmp_path / "run").finished
    assert last_step(tmp_path / "run") == 24


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold to this limit")
@pytest.mark.parametrize("gib", [2.0, 4.2])
def test_too_little_memory_is_one_line_and_status_two(tmp_path, gib):
    command = pretrain(tmp_path / "run", "--train.batch", "100", "--model.width", "1536", "--model.depth", "24")
    limit = f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_AS, ({int(gib * 2**30)},) * 2)"
    start = [sys.executable, "-c", f"{limit}; os.execv(sys.argv[1], sys.argv[1:])", *command]
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("mrkd: out of memory (")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_whoever_notices_that_memory_is_short_it_is_one_line(monkeypatch, capsys, error):
    import dataclasses

    def fail(options: object) -> None:
        raise error

    monkeypatch.setitem(VERBS, "methods", dataclasses.replace(VERBS["methods"], run=fail))
    assert main(["methods"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mrkd: out of memory (")
    assert said.count("\n") == 1


def test_another_error_of_the_same_type_is_not_taken_for_it(monkeypatch):
    import dataclasses

    def fail(options: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setitem(VERBS, "methods", dataclasses.replace(VERBS["methods"], run=fail))
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["methods"])
