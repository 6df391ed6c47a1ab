"""Check that a resumed run continues on the images that its checkpoint was made on."""

import os
from typing import Any

import torch

from mrkd.config import Config
from mrkd.data.dataset import ImageDataset
from mrkd.data.load import load_train
from mrkd.errors import UserError
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import CHECKPOINTS, RunDirectory
from mrkd.system.output import say


def check_same_images(state: dict[str, Any], dataset: ImageDataset) -> None:
    """Compare the fingerprint in a checkpoint's state with that of the images.

    Raises:
        UserError: they differ.
    """
    if not dataset.has_fingerprint(state.get("images")):
        raise UserError(
            f"the training images have changed: expected {state.get('images')}, got {dataset.fingerprint}; "
            "restore them or choose another --out"
        )


def follow_moved_images(config: Config, out: str | os.PathLike[str]) -> None:
    """Have a finished run say where its images lie now, after comparing them with its last checkpoint.

    Raises:
        UserError: they are others, or no checkpoint is left to tell by.
    """
    run = RunDirectory(out)
    old = run.config().data.source
    if old == config.data.source:
        return
    state = Checkpoints(run.path / CHECKPOINTS, config.train.keep_checkpoints).newest_readable()
    if state is None:
        raise UserError(
            f"{run.path} is finished and has no checkpoint to compare images with: name those at {old}, or choose "
            "another --out"
        )
    check_same_images(state, load_train(config.data, torch.device("cpu"), 1))
    run.store_place_of_images(config.data.source)
    say(f"the images of {run.path} are those at {config.data.source}, which were at {old}")


def check_images_of_run(config: Config, dataset: ImageDataset, out: str | os.PathLike[str]) -> None:
    """Check a new source against the last checkpoint, before the stored settings of the run name this source.

    Raises:
        UserError: the images are not those of the checkpoint.
    """
    run = RunDirectory(out)
    if run.started and (run.config().data.source != config.data.source or len(dataset) < config.train.batch):
        state = Checkpoints(run.path / CHECKPOINTS, config.train.keep_checkpoints).newest_readable()
        if state is not None:
            check_same_images(state, dataset)
