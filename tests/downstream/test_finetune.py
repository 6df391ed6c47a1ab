import dataclasses
import json

import pytest
import timm
import torch

import mrkd
import mrkd.downstream.finetune
from mrkd.cli import main
from mrkd.data.augment.views import normalize
from mrkd.data.load import load
from mrkd.downstream.finetune import few_per_class
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(mrkd.downstream.finetune, "LEAST_STEPS", 3)


def test_the_saved_classifier_scores_in_plain_timm_what_was_reported(trained_run, tmp_path):
    results = mrkd.finetune(trained_run, out=tmp_path / "fine", seeds=(0, 1), rates=(1e-3,), scratch=False)
    model = timm.create_model(f"local-dir:{tmp_path / 'fine'}", pretrained=True).eval()
    test = load(RunDirectory(trained_run).config().data).test
    with torch.no_grad():
        right = model(normalize(test.images)).argmax(dim=1) == test.labels
    assert results["pretrained"]["acc1"]["values"][0] == pytest.approx(100 * right.float().mean().item())
    assert results["pretrained"]["acc1"]["std"] is not None
    settings = json.loads((tmp_path / "fine" / "config.json").read_text())
    assert settings["label_names"] == [str(digit) for digit in range(10)]
    assert json.loads((tmp_path / "fine" / "results.json").read_text()) == results


def test_random_weights_are_trained_beside_and_rates_are_chosen_on_held_out_images(trained_run):
    results = mrkd.finetune(trained_run, rates=(1e-7, 3e-3))
    for kind in ("pretrained", "scratch"):
        assert results[kind]["chosen_on"] == "40 held-out training images"
        assert results[kind]["acc1"]["std"] is None
    assert results["data"]["labels"] == 200
    assert results["protocol"]["candidates"] == [1e-7, 3e-3]


@pytest.mark.parametrize(("few", "each"), [(3, 3), (1, 1), (0.1, 2), (0.0001, 1)])
def test_few_labels_are_drawn_from_every_class_and_differently_for_every_seed(trained_run, few, each):
    train = load(dataclasses.replace(RunDirectory(trained_run).config().data, train_images=None)).train
    chosen = few_per_class(train, few, seed=0)
    counts = chosen.labels.bincount()
    assert len(counts) == 10
    if few >= 1 or few == 0.0001:
        assert set(counts.tolist()) == {each}
    else:
        assert counts.tolist() == [round(few * count) for count in train.labels.bincount().tolist()]
    assert few_per_class(train, few, seed=1).names != chosen.names
    assert few_per_class(train, few, seed=0).names == chosen.names


def test_with_one_label_a_class_there_is_nothing_to_choose_a_rate_on(trained_run):
    results = mrkd.finetune(trained_run, few=1, scratch=False, rates=(1e-3, 1e-2))
    assert results["pretrained"]["chosen_on"] == "fixed: too few labels"
    assert results["data"]["labels"] == 10


def test_the_command_saves_beside_the_run_and_prints_both(trained_run, tmp_path, capsys):
    out = str(tmp_path / "fine")
    assert main(["finetune", str(trained_run), "--few", "0.2", "--rates", "0.001", "--out", out]) == 0
    shown = capsys.readouterr().out
    assert "from ibot+rkd-d" in shown
    assert "from random weights" in shown
    assert main(["finetune", str(trained_run), "--out", out]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--few", "2.5"], "few must be a fraction below 1"),
        (["--few", "some"], "--few must be a fraction"),
        (["--rates", "fast"], "--rates must be numbers"),
        (["--rates", "0"], "one learning rate above 0"),
        (["--seeds", "a"], "whole numbers"),
    ],
)
def test_bad_requests_are_one_line(trained_run, capsys, arguments, message):
    assert main(["finetune", str(trained_run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_images_without_labels_are_refused(trained_run, tmp_path):
    from PIL import Image

    (tmp_path / "flat").mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(tmp_path / "flat" / f"{number}.png")
    with pytest.raises(UserError, match="no test split, and no labels"):
        mrkd.finetune(trained_run, data=tmp_path / "flat")


def test_a_classifier_is_trained_on_labelled_images_in_python(trained_run):
    pixels = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    images = [(image, ("cat", "dog")[row % 2]) for row, image in enumerate(pixels)]
    results = mrkd.finetune(trained_run, data=images, rates=(1e-3,), scratch=False)
    assert results["data"]["source"].startswith("memory:")
    assert (results["data"]["labels"], results["data"]["test_images"], results["data"]["classes"]) == (32, 8, 2)
