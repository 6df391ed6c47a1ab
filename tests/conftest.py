"""Shared parts of the tests."""

import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mrkd
from mrkd.cli import main
from mrkd.config import Config
from mrkd.config.overrides import build, load_recipe, to_dict
from mrkd.studies.subprocesses import Subprocesses

CIFAR10 = Path(__file__).parent.parent.parent / "shared" / "data" / "cifar10"

# Tensors here are tiny: more threads only wait for each other, and for minutes where something else runs beside them.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache of decoded images."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MRKD_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny_config() -> Config:
    """A network and a run that take seconds."""
    return make_tiny_config()


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """A finished run of a method with a head, with checkpoints of steps 2 and 4, shared by tests that only read it."""
    config = make_tiny_config()
    train = dataclasses.replace(config.train, checkpoint_steps=2, keep_checkpoints=5)
    objective = dataclasses.replace(config.objective, method="ibot+rkd-d")
    return mrkd.pretrain(
        dataclasses.replace(config, train=train, objective=objective), tmp_path_factory.mktemp("trained") / "run"
    )


def make_tiny_config() -> Config:
    return build(
        {
            **load_recipe("quick"),
            "data.train_images": 200,
            "data.test_images": 100,
            "train.epochs": 1,
            "train.batch": 50,
            "train.log_steps": 1,
            "train.monitor_times": 2,
            "model.width": 16,
            "model.depth": 2,
            "model.heads": 2,
            "evaluation.linear_epochs": [2],
            "evaluation.finetune_epochs": 1,
            "evaluation.cluster_restarts": 1,
            "evaluation.cluster_head_epochs": 1,
            "attention.images": 2,
        }
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """A watch server on a free port and the unfinished run it shows."""
    from mrkd.reporting.watch import WatchServer
    from tests.helpers.made_up_runs import make_run

    run = make_run(tmp_path / "run", finished=False)
    with WatchServer([run], 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server, run
        server.shutdown()
        thread.join()


@pytest.fixture
def cifar10() -> Path:
    """CIFAR-10 (JPEG) as parquet, where it lies beside the checkout."""
    if not CIFAR10.is_dir():
        pytest.skip(f"no CIFAR-10 parquet at {CIFAR10}")
    return CIFAR10


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports draw no PNGs and SVGs, which takes longer than a tiny training."""
    monkeypatch.setattr("mrkd.reporting.figures.write_figures", lambda runs, folder: [])


@pytest.fixture
def trains_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons and sweeps train here: a process of its own opens torch for longer than a tiny training takes."""
    one_at_a_time = threading.Lock()

    def run(self: Any, config: Config, path: Path, request: Any, *, then: Any = (), **_: Any) -> str | None:
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = path.parent / f"{path.name}.yaml"
        settings.write_text(yaml.safe_dump(to_dict(config)))
        command = ["pretrain", "--config", str(settings), "--out", str(path)]
        with one_at_a_time:
            status = main([*command, *(["--then", ",".join(then)] if then else [])])
        settings.unlink()
        return None if status == 0 else f"exit status {status}"

    monkeypatch.setattr(Subprocesses, "run", run)
