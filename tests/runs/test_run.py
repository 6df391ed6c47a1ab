"""Run directories that an older version wrote; see tests/data_files/README.md."""

import shutil
from pathlib import Path

import pytest
import yaml

import mrkd
from mrkd.cli import main
from mrkd.config.overrides import laid_over
from mrkd.errors import UserError
from mrkd.reporting.read import read_run
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import CHECKPOINTS, Run

STORED = Path(__file__).parent.parent / "data_files"


@pytest.fixture
def older(tmp_path) -> Path:
    """A copy of the unfinished run."""
    return Path(shutil.copytree(STORED / "older_run", tmp_path / "older"))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> Path:
    """The run after today's code took the steps that were left; only read."""
    path = Path(shutil.copytree(STORED / "older_run", tmp_path_factory.mktemp("resumed") / "run"))
    assert main(["pretrain", "--resume", str(path)]) == 0
    return path


def objective_state(path: Path) -> dict:
    found = Checkpoints(path / CHECKPOINTS, keep=1).newest()
    assert found is not None
    return found[1]["objective"]["_extra_state"]


def test_an_older_run_has_its_settings_under_todays_names(older):
    stored = yaml.safe_load((older / "config.yaml").read_text())
    assert (stored["objective"]["relation_share"], stored["train"]["checkpoint_activations"]) == (0.5, True)
    config = Run(older).config()
    assert (config.objective.relation_grad_norm_ratio, config.train.activation_checkpointing) == (0.5, True)
    assert read_run(older).config["objective"]["relation_grad_norm_ratio"] == 0.5


def test_an_older_run_goes_on_to_its_end_with_the_factors_of_its_checkpoint(resumed):
    run = Run.open(resumed)
    assert [row["step"] for row in run.metrics()] == list(range(9))
    stored = yaml.safe_load((resumed / "config.yaml").read_text())
    assert "relation_share" not in stored["objective"]
    assert stored["objective"]["relation_grad_norm_ratio"] == 0.5
    before, after = objective_state(STORED / "older_run"), objective_state(resumed)
    assert before["share_factors"][-1] > 0
    assert after == {"grad_norm_factors": before["share_factors"], "measured_steps": 8}  # measured every 10 steps


def test_an_older_run_goes_on_under_the_command_that_started_it(older):
    config = Run(older).config()
    Run(older).check(config)
    with pytest.raises(UserError, match=r"\(objective.relation_grad_norm_ratio: 0.5 → 0.7\)"):
        Run(older).check(laid_over(config, {"objective.relation_grad_norm_ratio": 0.7}))


def test_memory_may_be_traded_for_time_when_a_run_goes_on(older):
    config = laid_over(Run(older).config(), {"train.activation_checkpointing": False, "train.epochs": 3})
    with pytest.raises(UserError, match=r"with other settings \(train.epochs: 4 → 3\)"):
        Run(older).check(config)
    config = laid_over(config, {"train.epochs": 4})
    assert mrkd.pretrain(config, older) == older
    assert Run.open(older).config() == config
