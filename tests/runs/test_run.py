"""Run directories that an older version wrote; see tests/data_files/README.md."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

import mrkd
from mrkd.cli import main
from mrkd.config.overrides import with_overrides
from mrkd.errors import UserError
from mrkd.reporting.read import read_run
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.comparability import has_comparable_evaluation, measurement_settings
from mrkd.runs.run import CHECKPOINTS, EVALUATION, RunDirectory

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
    config = RunDirectory(older).config()
    assert (config.objective.relation_grad_norm_ratio, config.train.activation_checkpointing) == (0.5, True)
    assert read_run(older).config["objective"]["relation_grad_norm_ratio"] == 0.5


def test_an_older_run_goes_on_to_its_end_with_the_factors_of_its_checkpoint(resumed):
    run = RunDirectory.open(resumed)
    assert [row["step"] for row in run.metrics()] == list(range(9))
    stored = yaml.safe_load((resumed / "config.yaml").read_text())
    assert "relation_share" not in stored["objective"]
    assert stored["objective"]["relation_grad_norm_ratio"] == 0.5
    before, after = objective_state(STORED / "older_run"), objective_state(resumed)
    assert before["share_factors"][-1] > 0
    assert after == {"grad_norm_factors": before["share_factors"], "measured_steps": 8}  # measured every 10 steps


def test_an_older_run_goes_on_under_the_command_that_started_it(older):
    config = RunDirectory(older).config()
    RunDirectory(older).check(config)
    with pytest.raises(UserError, match=r"\(objective.relation_grad_norm_ratio: 0.5 → 0.7\)"):
        RunDirectory(older).check(with_overrides(config, {"objective.relation_grad_norm_ratio": 0.7}))


def test_memory_may_be_traded_for_time_when_a_run_goes_on(older):
    config = with_overrides(RunDirectory(older).config(), {"train.activation_checkpointing": False, "train.epochs": 3})
    with pytest.raises(UserError, match=r"with other settings \(train.epochs: 4 → 3\)"):
        RunDirectory(older).check(config)
    config = with_overrides(config, {"train.epochs": 4})
    assert mrkd.pretrain(config, older) == older
    assert RunDirectory.open(older).config() == config


def test_an_older_evaluation_counts_as_made_otherwise_and_is_made_again(resumed, tmp_path):
    run = RunDirectory(shutil.copytree(resumed, tmp_path / "run"))
    config = run.config()
    assert not has_comparable_evaluation(run, config)
    shutil.copy(STORED / "older_evaluation.json", run.path / EVALUATION)
    assert not has_comparable_evaluation(run, config)
    assert main(["evaluate", str(run.path)]) == 0
    assert has_comparable_evaluation(run, config)
    assert not has_comparable_evaluation(run, with_overrides(config, {"evaluation.augmentation_flip": 0.1}))
    assert has_comparable_evaluation(run, with_overrides(config, {"evaluation.map_images": 0, "views.flip": 0.1}))


def test_an_evaluation_without_its_settings_counts_as_made_otherwise(resumed, tmp_path):
    run = RunDirectory(shutil.copytree(resumed, tmp_path / "run"))
    evaluation = json.loads((STORED / "older_evaluation.json").read_text())
    evaluation["measured_with"] = measurement_settings(run.config())
    (run.path / EVALUATION).write_text(json.dumps(evaluation))
    assert has_comparable_evaluation(run, run.config())
    del evaluation["measured_with"]
    (run.path / EVALUATION).write_text(json.dumps(evaluation))
    assert not has_comparable_evaluation(run, run.config())


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_a_comparison_keeps_an_older_run_and_measures_it_again(resumed, tmp_path, capfd):
    path = tmp_path / "table" / "runs" / "ibot+rkd-d-seed0"
    shutil.copytree(resumed, path)
    shutil.copy(STORED / "older_run" / "config.yaml", path / "config.yaml")
    shutil.copy(STORED / "older_evaluation.json", path / EVALUATION)
    config = with_overrides(
        RunDirectory(path).config(), {"evaluation.augmentation_flip": 0.0, "evaluation.finetune_epochs": 1}
    )
    table = mrkd.compare(config, ["ibot+rkd-d"], [0], tmp_path / "table", references=False).results
    assert [row["method"] for row in table["rows"]] == ["ibot+rkd-d"]
    assert has_comparable_evaluation(RunDirectory(path), config)
    assert RunDirectory(path).metrics() == RunDirectory(resumed).metrics()
    capfd.readouterr()
    mrkd.compare(config, ["ibot+rkd-d"], [0], tmp_path / "table", references=False)
    assert "finished before, kept" in capfd.readouterr().out
    other = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, k=5))
    with pytest.raises(UserError, match=r"with other settings \(evaluation.k: 20 → 5\)"):
        mrkd.compare(other, ["ibot+rkd-d"], [0], tmp_path / "table", references=False)


@pytest.mark.parametrize("lines", [0, 1, 60, 137])
def test_settings_that_were_cut_off_are_refused_and_not_taken_for_defaults(older, lines):
    stored = (older / "config.yaml").read_text().splitlines(keepends=True)
    (older / "config.yaml").write_text("".join(stored[:lines]))
    with pytest.raises(UserError, match=r"config.yaml is damaged or cut off, without the section '\w+': restore"):
        RunDirectory(older).config()
    assert main(["pretrain", "--resume", str(older)]) == 2


def test_a_run_has_a_name_that_every_library_can_open(tiny_config, tmp_path):
    with pytest.raises(UserError, match="must have a name in UTF-8, which safetensors needs: rename it"):
        mrkd.pretrain(tiny_config, tmp_path / os.fsdecode(b"\xff"))


def test_a_folder_in_the_place_of_weights_is_told(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run" / "backbone.safetensors").unlink()
    (tmp_path / "run" / "backbone.safetensors").mkdir()
    with pytest.raises(UserError, match=r"backbone.safetensors must be a file: restore it"):
        mrkd.embed(tmp_path / "run", tmp_path / "e.npz")
