"""Recipe `cifar10-cpu`, as `mrkd pretrain` runs it."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from contestants.task import Observe, Task

ADAMW_SETTINGS: dict[str, dict[str, Any]] = {
    "structural": {
        "optim.name": "adamw",
        "optim.learning_rate": 0.004222174612594996,
        "optim.ema": 0.9,
        "objective.relation_grad_norm_ratio": 0.48441713902989497,
    },
    "ibot": {"optim.name": "adamw", "optim.learning_rate": 0.004368174446401196, "head.bottleneck": 16},
}
"""The best trial of each method in docs/results/cifar10-sweep.json, where it differs from the recipe."""


def ours(task: Task, observe: Observe, *, method: str, settings: Mapping[str, Any] | None = None) -> None:
    """The recipe in float32, as the peers; its own monitor stays on the clock, once a pass instead of 5 times."""
    import mrkd
    from mrkd.config.overrides import build, load_recipe
    from mrkd.evaluation.features import extract
    from mrkd.model.teacher_student import TeacherStudent
    from mrkd.train.monitor import FeatureMonitor

    measure = FeatureMonitor.measure

    def observe_and_measure(monitor: FeatureMonitor, pair: TeacherStudent) -> dict[str, float]:
        vit = pair.teacher_vit()
        observe(lambda images: extract(vit, images))
        return measure(monitor, pair)

    length = {"train.epochs": task.epochs, "train.monitor_times": task.epochs, "train.seed": task.seed}
    given = {"objective.method": method, "train.precision": "32-true", **(settings or {}), **length}
    config = build({**load_recipe("cifar10-cpu"), **given})
    # The training loop has no hook that is given the network, and needs none but here.
    with (
        mock.patch.object(FeatureMonitor, "measure", observe_and_measure),
        tempfile.TemporaryDirectory() as folder,
    ):
        mrkd.pretrain(dataclasses.replace(config, data=task.data), Path(folder) / "run")
