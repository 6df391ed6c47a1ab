"""Shared parts of the tests."""

import os
from pathlib import Path

import pytest
import torch

from mrkd.config import Config
from mrkd.settings import build, load_recipe

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
def cifar10() -> Path:
    """CIFAR-10 (JPEG) as parquet, where it lies beside the checkout."""
    if not CIFAR10.is_dir():
        pytest.skip(f"no CIFAR-10 parquet at {CIFAR10}")
    return CIFAR10
