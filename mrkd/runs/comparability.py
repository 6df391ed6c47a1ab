"""What must be the same for figures of several runs to stand in one table."""

import dataclasses
import json
from typing import Any

from mrkd.config import Config
from mrkd.runs.run import EVALUATION, Run
from mrkd.system.files import read_json

EQUAL_FOR_ALL = (
    "data.",
    "evaluation.",
    "train.batch",
    "train.auto_batch",
    "train.epochs",
    "train.steps",
    "train.minutes",
)
"""Settings, or the starts of their names, in which compared methods do not differ."""


_DATA = ("source", "size", "train_images", "test_images", "holdout", "image_column", "label_column", "use_labels")
"""Settings that say which images and labels are scored; the others say how they are fetched."""


def measurement_settings(config: Config) -> dict[str, Any]:
    """The settings that an evaluation's figures depend on, as JSON has them."""
    own = {key: value for key, value in dataclasses.asdict(config.evaluation).items() if key != "map_images"}
    data = {key: getattr(config.data, key) for key in _DATA}
    return json.loads(json.dumps({"data": data, "evaluation": own}))


def has_comparable_evaluation(run: Run, config: Config) -> bool:
    """Whether the run has been evaluated as this config would; what older versions wrote counts as if it were."""
    if not (run.path / EVALUATION).is_file():
        return False
    found = read_json(run.path / EVALUATION)
    return found.get("measured_with") in (None, measurement_settings(config))
