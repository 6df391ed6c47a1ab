"""What evaluations get of a source, and what is said of it."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import mrkd
from mrkd.config.overrides import build
from mrkd.data.dataset import sample_in_memory
from mrkd.data.load import load, load_train, with_labels
from mrkd.errors import UserError
from mrkd.model.backbone import create_vit
from mrkd.train.monitor import FeatureMonitor
from tests.helpers.sources import config, fill, labelled_parquet


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_evaluations_get_the_labelled_images_alone(tmp_path, mode):
    path = labelled_parquet(tmp_path / "x.parquet", ["a", "b", None] * 10)
    splits = load(config(path, mode=mode))
    assert len(splits.train) == 26
    train, test = splits.labelled()
    assert (len(train), len(test)) == (16, 4)
    assert -1 not in train.labels.tolist()
    assert len(with_labels(train)) == 16


def test_what_cannot_be_scored_is_refused_with_its_reason(tmp_path):
    fill(tmp_path, "train/a", "train/b", "test")
    with pytest.raises(UserError, match="evaluation needs labels, but the test images are unlabelled: they lie in no"):
        load(config(tmp_path)).labelled()


def test_what_is_not_expected_is_printed_once_in_one_line_each(tmp_path, capsys):
    fill(tmp_path, "train/a", "train/b", "val/a", "val/b", "test")
    load(config(tmp_path))
    line = "note: test: all 5 images are unlabelled, not scored: they lie in no class folders\n"
    assert capsys.readouterr().out == line
    load(config(fill(tmp_path / "plain", "a", "b")))
    assert capsys.readouterr().out == ""


def settings(source):
    return build({"data.source": str(source), "data.size": 8, "model.patch": 4, "views.local_size": 4})


def test_training_says_in_one_line_when_no_evaluation_will_be_possible(tmp_path, capsys):
    fill(tmp_path, "train/a", "train/b", "test/unknown")
    load_train(settings(tmp_path).data, torch.device("cpu"), 1, announce=True)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "no evaluation will be possible" in line]
    assert "set data.holdout validation" in line
    load_train(settings("digits").data, torch.device("cpu"), 1, announce=True)
    assert capsys.readouterr().out == ""


def test_pretrain_says_it_before_it_trains(tmp_path, tiny_config, capsys):
    fill(tmp_path / "images", "flat", each=60)
    data = dataclasses.replace(tiny_config.data, source=str(tmp_path / "images"))
    mrkd.pretrain(dataclasses.replace(tiny_config, data=data), tmp_path / "run")
    assert "note: no evaluation will be possible: the training images are unlabelled" in capsys.readouterr().out


def test_the_k_nn_of_training_counts_labelled_images_alone(tmp_path):
    path = labelled_parquet(tmp_path / "x.parquet", ["a", "b", None, None] * 10)
    own = settings(path)
    monitor = FeatureMonitor(sample_in_memory(load_train(own.data, torch.device("cpu"), 1), 100), own)
    asked = int((monitor.queries.labels >= 0).sum())
    assert 0 < asked < len(monitor.queries)
    vit = create_vit(own.model, 8)
    measured = monitor.measure(SimpleNamespace(teacher_vit=lambda: vit))
    assert (measured["knn"] * asked / 100) % 1 == pytest.approx(0, abs=1e-6)
