"""Whether the evaluations of several runs are comparable: the settings on which their numbers depend."""

from typing import Any

from mrkd.config import Config
from mrkd.config.keys import part_of_measurement
from mrkd.config.overrides import to_dict
from mrkd.runs.run import EVALUATION, RunDirectory
from mrkd.system.files import read_json


def measurement_settings(config: Config) -> dict[str, Any]:
    """The settings that an evaluation's figures depend on, as JSON has them: per section, by name."""
    return {
        section: own
        for section, values in to_dict(config).items()
        if (own := {name: value for name, value in values.items() if part_of_measurement(f"{section}.{name}")})
    }


def has_comparable_evaluation(run: RunDirectory, config: Config) -> bool:
    """Whether the run has been evaluated as this config would; older versions with fewer settings did it otherwise."""
    if not (run.path / EVALUATION).is_file():
        return False
    found = read_json(run.path / EVALUATION)
    return found.get("measured_with") == measurement_settings(config)
