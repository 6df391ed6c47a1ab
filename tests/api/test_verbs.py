import dataclasses
import gc

import numpy as np
import pytest

import mrkd
from mrkd.errors import UserError

TINY = {
    "recipe": "quick",
    "size": 16,
    "patch": 8,
    "epochs": 2,
    "batch_size": 20,
    "model__width": 16,
    "model__depth": 1,
    "model__heads": 2,
    "train__monitor_images": 20,
    "evaluation__cluster_restarts": 1,
    "evaluation__linear_epochs": [1],
    "evaluation__finetune_epochs": 0,
    "evaluation__cluster_head_epochs": 0,
}


def labelled_images(seed: int = 0) -> list[tuple[np.ndarray, str]]:
    """Sixty images of noise, red or blue."""
    noise = np.random.default_rng(seed).integers(0, 99, (60, 16, 16, 3)).astype(np.uint8)
    noise[::2, ..., 0] += 150
    noise[1::2, ..., 2] += 150
    return [(image, ("red", "blue")[row % 2]) for row, image in enumerate(noise)]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> mrkd.Run:
    """Trained on images that are in memory."""
    out = tmp_path_factory.mktemp("memory") / "run"
    return mrkd.pretrain(data=labelled_images(), method="rkd-d", out=out, **TINY)


def test_settings_by_keyword_train_a_run_on_images_in_memory(run):
    assert isinstance(run, mrkd.Run)
    assert run.finished
    assert run.method == "rkd-d"
    assert run.config.data.source.startswith("memory:")
    assert run.evaluate()["knn"]["acc1"] > 90
    assert run.embed().class_names == ("blue", "red")


def test_the_same_images_are_the_same_run_and_others_are_refused(run, capsys):
    again = mrkd.pretrain(data=labelled_images(), method="rkd-d", out=run, **TINY)
    assert "nothing is left to train" in capsys.readouterr().out
    assert again == run
    with pytest.raises(UserError, match="the training images have changed: expected 48x3x16x16"):
        mrkd.pretrain(data=labelled_images(seed=1), method="rkd-d", out=run, **TINY)


def test_an_unfinished_run_on_images_in_memory_goes_on_with_the_same_images_only(tmp_path):
    settings = {**TINY, "method": "rkd-d", "train__checkpoint_steps": 2}
    run = mrkd.pretrain(data=labelled_images(), out=tmp_path / "run", **settings)
    loss = run.metrics["loss"][-1]
    (run / "summary.json").unlink()
    for checkpoint in (run / "checkpoints").glob("*"):
        if "step-00000002" not in checkpoint.name:
            checkpoint.unlink()
    with pytest.raises(UserError, match="the training images have changed"):
        mrkd.pretrain(data=labelled_images(seed=1), out=run, **settings)
    assert mrkd.pretrain(data=labelled_images(), out=run, **settings).metrics["loss"][-1] == loss


def test_a_run_whose_images_are_gone_asks_for_them(run, tmp_path):
    images = labelled_images(seed=2)
    source = mrkd.pretrain(data=images, method="random", out=tmp_path / "run", **TINY).config.data.source
    gc.collect()
    opened = mrkd.Run(tmp_path / "run")
    with pytest.raises(UserError, match=f"the images of {source} were given in Python, and only that process has them"):
        opened.evaluate()
    assert opened.evaluate(data=images)["data"]["train_images"] == 48


def test_a_config_comes_first_as_before_and_keywords_change_it(tiny_config, tmp_path):
    config = dataclasses.replace(tiny_config, objective=dataclasses.replace(tiny_config.objective, method="random"))
    run = mrkd.pretrain(config, tmp_path / "run", seed=3)
    assert run.config == dataclasses.replace(config, train=dataclasses.replace(config.train, seed=3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, 'pretrain needs a directory for the run: out="runs/a"'),
        ({"epoch": 3, "out": "x"}, "unknown setting 'epoch': did you mean 'epochs'"),
        ({"train__epoch": 3, "out": "x"}, "unknown setting 'train.epoch': did you mean 'train.epochs'"),
        ({"epochs": 3, "train__epochs": 4, "out": "x"}, "train.epochs is given twice"),
        ({"epochs": "many", "out": "x"}, "train.epochs"),
        ({"config": "photos", "out": "x"}, "config must be the Config of mrkd.load_config, got str"),
        ({"config": mrkd.load_config(), "recipe": "quick", "out": "x"}, "leave out recipe and file"),
        ({"method": "structurl", "out": "x"}, "structural"),
        ({"data": 3, "out": "x"}, "images must be paths, PIL images, .* got int"),
    ],
)
def test_wrong_settings_of_a_training_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as raised:
        mrkd.pretrain(**arguments)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["ibot"]}, "compare needs a directory"),
        ({"methods": "ibot", "out": "x"}, r"write methods=\['ibot'\]"),
        ({"methods": ["ibot"], "seed": 3, "out": "x"}, r"compare takes seeds=\[...\], got seed=3"),
        ({"methods": ["ibot"], "data": labelled_images(), "out": "x"}, "give the path of their folder, got list"),
        ({"out": "x"}, "at least one method"),
    ],
)
def test_wrong_settings_of_a_comparison_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        mrkd.compare(**arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_comparison_by_keyword_returns_its_table_and_runs(tmp_path):
    settings = {**TINY, "size": 32, "data__train_images": 120, "data__test_images": 60}
    out = tmp_path / "table"
    found = mrkd.compare(data="digits", methods=["rkd-d"], seeds=[0, 1], out=out, jobs=2, **settings)
    assert found.table["method"].tolist() == ["pixels", "random", "rkd-d"]
    assert found.difference("rkd-d", "random").seeds == 2
    assert [run.seed for run in found.runs] == [0, 1, 0, 1]
    assert found.report().is_file()
