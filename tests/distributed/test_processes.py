"""Training in several processes, started from the command line."""

import contextlib
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from mrkd.distributed.fabric import make_fabric
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from tests.helpers.interruptions import weights

SETTINGS = {
    "data.train_images": 120,
    "data.test_images": 20,
    "train.accelerator": "cpu",
    "train.precision": "32-true",  # float32, where the order of sums changes only the last digits
    "train.epochs": 4,
    "train.batch": 40,
    "train.log_steps": 1,
    "train.monitor_times": 2,
    "train.checkpoint_steps": 10,
    "model.width": 16,
    "model.depth": 1,
    "model.heads": 2,
    "objective.method": "ibot+rkd-d",
    "views.local_views": 1,
    "optim.learning_rate": 0.001,
    "optim.freeze_prototypes": 0,
}
ONE = [sys.executable, "-m", "mrkd"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
LAUNCHERS = {
    "own": ONE,
    "torchrun": [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "mrkd"],
}


def start(launcher: Sequence[str], out: Path, **changes: object) -> subprocess.Popen[str]:
    settings = {**SETTINGS, **{key.replace("__", "."): value for key, value in changes.items()}}
    options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    command = [*launcher, "pretrain", "--recipe", "quick", *options, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]


def wait_for_rows(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while not (out / "metrics.jsonl").is_file() or len(RunDirectory(out).metrics()) < count:
        assert process.poll() is None
        time.sleep(0.05)


def assert_close(out: Path, other: Path, slack: float = 1.0) -> None:
    """Compare weights up to rounding, which AdamW amplifies for tiny gradients and in each step."""
    for ours, theirs in zip(RunDirectory(out).metrics(), RunDirectory(other).metrics(), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=slack * 1e-4)
        assert ours.get("gradient_norm", 0) == pytest.approx(theirs.get("gradient_norm", 0), rel=slack * 1e-3)
    for part in ("student", "teacher"):
        one, two = (
            torch.cat([tensor.double().flatten() for tensor in weights(path)[part].values()])  # type: ignore[attr-defined]
            for path in (out, other)
        )
        assert (one - two).norm() < slack * 1e-4 * one.norm()


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Callable[..., Path]:
    """The run of a single process, by method and changed settings."""

    @functools.cache
    def run_of(method: str, **changes: object) -> Path:
        out = tmp_path_factory.mktemp("one") / "run"
        finish(start(ONE, out, objective__method=method, **changes))
        return out

    return run_of


# A relation between patches needs all patches; iBOT the masked ones, whose number differs between processes.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "strategy", "micro_batch", "method"),
    [
        ("own", "ddp", "null", "ibot+rkd-d"),
        ("torchrun", "ddp", "null", "ibot"),
        ("own", "fsdp", "null", "ibot"),
        ("own", "ddp", 10, "ibot"),
        ("own", "fsdp", 10, "ibot+rkd-d"),
    ],
)
def test_two_processes_train_to_the_weights_of_one_on_the_same_batch(
    one, tmp_path, launcher, strategy, micro_batch, method
):
    changes = {"train__strategy": strategy, "train__micro_batch": micro_batch, "objective__method": method}
    finish(start(LAUNCHERS[launcher], tmp_path / "run", train__devices=2, **changes))
    assert_close(tmp_path / "run", one(method))


# A head without ReLU, because rounding that turns a unit on or off changes the gradient by a thousandth.
MUON = {"optim__name": "muon", "optim__muon_head": True, "head__norm": "none"}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_with_muon_too_two_processes_train_to_the_weights_of_one(one, tmp_path, strategy):
    finish(start(LAUNCHERS["own"], tmp_path / "run", train__devices=2, train__strategy=strategy, **MUON))
    assert_close(tmp_path / "run", one(str(SETTINGS["objective.method"]), **MUON))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_nodes_train_to_the_weights_of_one_process(one, tmp_path, strategy):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    launchers = [[*TORCHRUN, *place, "--node-rank", str(rank), "-m", "mrkd"] for rank in range(2)]
    nodes = [start(line, tmp_path / "run", train__nodes=2, train__strategy=strategy) for line in launchers]
    for node in nodes:
        finish(node)
    assert_close(tmp_path / "run", one(str(SETTINGS["objective.method"])))


@pytest.mark.slow
def test_a_sharded_run_goes_on_from_the_checkpoint_of_one_process_and_the_other_way_round(tmp_path):
    finish(start(ONE, tmp_path / "whole", train__epochs=20))
    shards = {"train__devices": 2, "train__strategy": "fsdp", "train__epochs": 20}
    for changes in ({"train__epochs": 20}, shards, {"train__epochs": 20}):
        rows = len(RunDirectory(tmp_path / "run").metrics())
        process = start(LAUNCHERS["own"], tmp_path / "run", **changes)
        wait_for_rows(process, tmp_path / "run", rows + 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    finish(start(LAUNCHERS["own"], tmp_path / "run", **shards))
    assert_close(tmp_path / "run", tmp_path / "whole", slack=10)  # sixty steps instead of twelve


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_and_one_process_goes_on(tmp_path):
    finish(start(ONE, tmp_path / "whole", train__epochs=20))
    process = start(LAUNCHERS["own"], tmp_path / "run", train__devices=2, train__epochs=20)
    wait_for_rows(process, tmp_path / "run", 5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.count("SIGTERM: stopped after step") == 1
    finish(start(ONE, tmp_path / "run", train__epochs=20))
    assert_close(tmp_path / "run", tmp_path / "whole", slack=10)  # sixty steps instead of twelve


@pytest.mark.slow
def test_when_one_process_is_killed_the_other_ends_with_one_line_and_the_run_goes_on(tmp_path):
    process = start(LAUNCHERS["own"], tmp_path / "run", train__devices=2, train__epochs=200)
    wait_for_rows(process, tmp_path / "run", 30)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(children[0]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "another process of this training has ended" in errors
    assert "Traceback" not in errors
    again = start(LAUNCHERS["own"], tmp_path / "run", train__devices=2, train__epochs=200)
    out, _ = again.communicate(timeout=200)
    assert "goes on after step" in out
    assert [row["step"] for row in RunDirectory(tmp_path / "run").metrics()] == list(range(601))


def test_a_number_of_processes_other_than_the_settings_say_is_refused(tiny_config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"must equal the number of started processes, 2, got 1 \* 1"):
        make_fabric(tiny_config)
    with pytest.raises(UserError, match=r"must be a multiple of train\.devices \* train\.nodes = 3, got 50"):
        dataclasses.replace(tiny_config.train, devices=3)
