"""Check that a resumed run continues on the images that its checkpoint was made on."""

import os
from typing import Any

from mrkd.config import Config
from mrkd.data.dataset import ImageDataset
from mrkd.errors import UserError
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import CHECKPOINTS, Run


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


def check_images_of_run(config: Config, dataset: ImageDataset, out: str | os.PathLike[str]) -> None:
    """Check a new source against the last checkpoint, before the stored settings of the run name this source.

    Raises:
        UserError: the images are not those of the checkpoint.
    """
    run = Run(out)
    if run.started and (run.config().data.source != config.data.source or len(dataset) < config.train.batch):
        state = Checkpoints(run.path / CHECKPOINTS, config.train.keep_checkpoints).newest_readable()
        if state is not None:
            check_same_images(state, dataset)
