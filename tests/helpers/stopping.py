"""Stop a training at a stated step."""

import os
import signal
from pathlib import Path

import pytest
import torch

import mrkd
from mrkd.config import Config
from mrkd.errors import Interrupted
from mrkd.train.step import Learner


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: object) -> None:
    """Have something happen while a step is taken."""
    true_take = Learner.training_step

    def take(learner: Learner, images: torch.Tensor, number: int) -> object:
        if number + 1 == step:
            act()
        return true_take(learner, images, number)

    monkeypatch.setattr(Learner, "training_step", take)


def stopped(config: Config, out: Path, step: int, number: int = signal.SIGTERM) -> Interrupted:
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as caught:
            mrkd.pretrain(config, out)
    return caught.value
