"""Who runs in `race.py`: functions that train on a task and show their features now and then."""

from collections.abc import Callable
from functools import partial

from contestants.from_lightly import dino_vit, simclr_resnet, simclr_vit
from contestants.ours import ADAMW_SETTINGS, ours
from contestants.task import Observe, Task

__all__ = ["CONTESTANTS", "Observe", "Task"]

CONTESTANTS: dict[str, Callable[[Task, Observe], None]] = {
    "structural": partial(ours, method="structural"),
    "ibot": partial(ours, method="ibot"),
    "ibot+structural": partial(ours, method="ibot+structural"),
    "structural-adamw": partial(ours, method="structural", settings=ADAMW_SETTINGS["structural"]),
    "ibot-adamw": partial(ours, method="ibot", settings=ADAMW_SETTINGS["ibot"]),
    "lightly-simclr": simclr_vit,
    "lightly-simclr-8x-rate": partial(simclr_vit, rate_factor=8.0),
    "lightly-dino": dino_vit,
    "lightly-dino-8x-rate": partial(dino_vit, rate_factor=8.0),
    "lightly-simclr-resnet18": simclr_resnet,
}
"""By name; the order in which they run."""
