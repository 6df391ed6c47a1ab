import contextlib
import dataclasses
import sys
from pathlib import Path

import pytest

import mrkd
from mrkd.config import Config
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from mrkd.train.loggers import MLFLOW_RUN, MetricsLoggers, check_logger, scalars


def logged(config, name):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, logger=name))


def test_tensorboard_files_hold_the_numbers_of_metrics_jsonl(trained_run):
    pytest.importorskip("tensorboard")
    pytest.importorskip("tensorboardX")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained_run / "tensorboard"))
    events.Reload()
    rows = RunDirectory(trained_run).metrics()
    shown = {event.step: event.value for event in events.Scalars("loss")}
    assert shown == pytest.approx({row["step"]: row["loss"] for row in rows if "loss" in row})
    names = set(events.Tags()["scalars"])
    assert {"knn", "rankme", "learning_rate", *(f"terms/{name}" for name in rows[-1]["terms"])} <= names


def test_without_tensorboardx_training_goes_on_and_one_line_says_so(tiny_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run = mrkd.pretrain(tiny_config, tmp_path / "run")
    told = [line for line in capsys.readouterr().out.splitlines() if "TensorBoard" in line]
    assert told == ['no TensorBoard files without tensorboardX: pip install "mrkd[tensorboard]"']
    assert not (run / "tensorboard").exists()
    assert RunDirectory(run).metrics()[-1]["step"] == 4


def test_after_a_resume_event_files_go_on_without_the_steps_that_were_lost(tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("tensorboardX")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ((0, 1, 2, 3), (2, 3, 4)):  # killed after 3, taken up from the checkpoint of 1
        loggers = MetricsLoggers(Config(), tmp_path)
        for step in steps:
            loggers.log({"step": step, "loss": 10.0 * len(steps) + step})
        loggers.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (0, 40.0),
        (1, 41.0),
        (2, 32.0),
        (3, 33.0),
        (4, 34.0),
    ]


def test_only_finite_numbers_are_passed_on_with_the_terms_named():
    row = {"step": 3, "loss": 1.5, "terms": {"koleo": 2}, "verdict": "healthy", "knn": float("nan")}
    assert scalars(row) == {"loss": 1.5, "terms/koleo": 2.0}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing_is_one_line(tiny_config, tmp_path, monkeypatch, name):
    import importlib.util

    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=rf'pip install "mrkd\[{name}\]"'):
        mrkd.pretrain(logged(tiny_config, name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_the_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "mlflow").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="not installed"):
        check_logger("mlflow")


def test_wandb_is_kept_on_the_machine_and_gets_settings_and_rows(tiny_config, tmp_path, monkeypatch):
    from lightning.pytorch import loggers

    calls = []

    class Recorder:
        def __init__(self, **arguments):
            calls.append(("made", arguments))

        def log_hyperparams(self, settings):
            calls.append(("settings", settings))

        def log_metrics(self, numbers, step):
            calls.append((step, numbers))

        def finalize(self, status):
            calls.append(("closed", status))

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(loggers, "WandbLogger", Recorder)
    monkeypatch.setattr("mrkd.train.pretrain.check_logger", lambda name: None)
    mrkd.pretrain(logged(tiny_config, "wandb"), tmp_path / "run")
    kinds = [kind for kind, _ in calls]
    assert kinds == ["made", "settings", 0, 1, 2, 3, 4, "closed"]
    assert calls[0][1]["offline"] is True
    assert calls[1][1]["train.batch"] == 50
    assert "loss" in calls[-2][1]


def test_mlflow_goes_on_in_the_same_run_after_an_interruption(tiny_config, tmp_path, monkeypatch):
    from lightning.pytorch import loggers

    asked, settings_of = [], {}

    class Recorder:
        def __init__(self, experiment, *, run_name, tracking_uri, run_id=None):
            asked.append(run_id)
            self.run_id = run_id or f"made-{len(asked)}"

        @property
        def experiment(self):
            if self.run_id == "deleted":
                raise LookupError
            return self

        def log_hyperparams(self, settings):  # MLflow takes no second value
            assert settings_of.setdefault(self.run_id, settings) == settings

        def log_metrics(self, numbers, step):
            pass

        def finalize(self, status):
            pass

    monkeypatch.setattr(loggers, "MLFlowLogger", Recorder)
    monkeypatch.setattr("mrkd.train.loggers._mlflow_error", lambda: LookupError)

    def some_steps(step, epochs):
        train = dataclasses.replace(tiny_config.train, epochs=epochs)
        loggers = MetricsLoggers(logged(dataclasses.replace(tiny_config, train=train), "mlflow"), tmp_path)
        loggers.log({"step": step, "loss": 1.0})
        loggers.close()

    some_steps(0, epochs=1)
    some_steps(1, epochs=2)
    assert asked == [None, "made-1"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    some_steps(2, epochs=2)
    assert asked[2:] == [None]
    kept = tmp_path / MLFLOW_RUN
    kept.write_text(kept.read_text().replace("made-3", "deleted"))
    some_steps(3, epochs=2)
    assert asked[3:] == ["deleted", None]


def test_no_logger_imports_a_package_of_its_own_unasked():
    assert "wandb" not in sys.modules
    assert "mlflow" not in sys.modules


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the full device is Linux's")
def test_a_full_disk_below_the_event_files_names_their_folder(tmp_path):
    pytest.importorskip("tensorboardX")
    loggers = MetricsLoggers(Config(), tmp_path)
    loggers.log({"step": 0, "loss": 1.0})
    [events] = loggers._loggers
    full = Path("/dev/full").open("wb")  # noqa: SIM115
    events._writer._py_recordio_writer._writer = full
    loggers.log({"step": 1, "loss": 1.0})
    with pytest.raises(OSError, match="tensorboard") as caught:
        loggers.close()
    assert caught.value.filename == str(tmp_path / "tensorboard")
    with contextlib.suppress(OSError):
        full.close()
