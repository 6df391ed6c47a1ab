"""Evaluation gives the same results for streamed images as for images in memory."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import mrkd
from mrkd.data.dataset import in_order, readable_batches
from mrkd.data.load import load
from mrkd.data.streamed import StreamedDataset
from mrkd.downstream.finetune import finetune
from mrkd.errors import UserError
from mrkd.evaluation.features import extract_features
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone
from tests.helpers.photographs import make_two_classes

CHEAP = {"k": 5, "linear_epochs": (2,), "cluster_head_epochs": 1, "finetune_epochs": 1, "finetune_batch": 16}


@pytest.fixture
def folder(tmp_path):
    """60 noisy images of two classes."""
    return make_two_classes(tmp_path / "images", 60, ".png")


@pytest.fixture
def own_run(trained_run, tmp_path):
    """A copy of the shared run, to be evaluated."""
    return RunDirectory.open(shutil.copytree(trained_run, tmp_path / "run"))


def config_of(run, folder, **data):
    config = run.config()
    data = {"source": str(folder), "train_images": None, "test_images": None, "cache": None, "workers": 1, **data}
    evaluation = dataclasses.replace(config.evaluation, **CHEAP)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data), evaluation=evaluation)


def test_an_evaluation_is_the_same_for_images_in_memory_and_streamed_images(own_run, folder):
    resident = mrkd.evaluate(own_run.path, config_of(own_run, folder, mode="resident"))
    streamed = mrkd.evaluate(own_run.path, config_of(own_run, folder, mode="stream"))
    assert {name: streamed[name] for name in streamed if name != "seconds"} == {
        name: resident[name] for name in resident if name != "seconds"
    }


def test_a_split_that_does_not_fit_into_memory_is_streamed_automatically(own_run, folder):
    gib_of_30_images = 30 * 3 * 32**2 / 2**30
    splits = load(config_of(own_run, folder, mode="auto", max_resident_gib=gib_of_30_images).data)
    assert isinstance(splits.train, StreamedDataset)
    assert not isinstance(splits.test, StreamedDataset)


def test_broken_images_and_their_labels_are_left_out_and_counted(own_run, folder):
    bad = folder / "dark" / "01.png"
    bad.write_bytes(b"no image")
    config = config_of(own_run, folder, mode="stream", max_broken_fraction=0.1)
    splits, vit = load(config.data), load_backbone(own_run)
    seen = extract_features(vit, splits.train, batch=7)
    whole = extract_features(
        vit, splits.train.take(torch.tensor([row for row, name in enumerate(splits.train.names) if "01" not in name]))
    )
    assert len(seen) == len(splits.train) - 1
    assert "dark/01.png" not in seen.images.names
    torch.testing.assert_close(seen.features, whole.features)
    assert torch.equal(seen.labels("this test"), whole.labels("this test"))
    assert mrkd.evaluate(own_run.path, config)["data"]["broken"] == 1


def test_batches_name_the_rows_that_could_be_read_and_leave_out_those_without_any(own_run, folder):
    (folder / "dark" / "01.png").write_bytes(b"no image")
    data = config_of(own_run, folder, mode="stream", max_broken_fraction=0.1).data
    train = load(data).train
    bad = train.names.index("dark/01.png")
    rows = [rows.tolist() for rows, _ in readable_batches(train, in_order(train, 1))]
    assert rows == [[row] for row in range(len(train)) if row != bad]


def test_too_many_broken_images_end_an_evaluation_with_one_line(own_run, folder):
    for number in range(1, 21, 2):
        (folder / "dark" / f"{number:02d}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cannot be read so far .*data.max_broken_fraction"):
        mrkd.evaluate(own_run.path, config_of(own_run, folder, mode="stream"))


def test_an_embedding_of_streamed_images_leaves_out_broken_ones_and_says_so(own_run, folder, capsys):
    (folder / "dark" / "01.png").write_bytes(b"no image")
    settings = {"max_broken_fraction": 0.1}
    resident = mrkd.embed(own_run.path, config=config_of(own_run, folder, mode="resident", **settings))
    said = capsys.readouterr().out
    streamed = mrkd.embed(own_run.path, config=config_of(own_run, folder, mode="stream", **settings))
    assert "1 broken images were left out, such as dark/01.png" in said
    assert "1 broken images were left out, such as dark/01.png" in capsys.readouterr().out
    assert streamed.paths == resident.paths
    np.testing.assert_array_equal(streamed.labels, resident.labels)
    np.testing.assert_allclose(streamed.vectors, resident.vectors, atol=1e-6)


def test_an_evaluation_works_with_empty_classes_and_with_classes_of_two_images(own_run, tmp_path):
    generator = np.random.default_rng(0)
    for split, count in (("train", 2), ("test", 1)):
        for number in range(12):
            place = tmp_path / "small" / split / f"{number:02d}"
            place.mkdir(parents=True)
            for image in range(count if number < 10 else 1 - (split == "test")):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{image}.png")
    results = mrkd.evaluate(own_run.path, config_of(own_run, tmp_path / "small"))
    assert results["data"]["test_images"] == 10
    assert results["kmeans"]["protocol"]["clusters"] == 12
    assert results["linear_sgd"]["2_epochs"]["protocol"]["chosen_on"] == "fixed: too few labels"


def test_a_subset_of_a_streamed_set_may_contain_all_its_broken_images(own_run, folder):
    (folder / "dark" / "01.png").write_bytes(b"no image")
    data = config_of(own_run, folder, mode="stream", max_broken_fraction=0.05).data
    train = load(data).train
    few = train.take(torch.tensor([train.names.index("dark/01.png"), 7, 8]))
    assert [len(rows) for rows, _ in readable_batches(few, in_order(few, 3))] == [2]


def test_an_embedding_names_a_broken_image_even_if_the_other_split_has_the_same_name(own_run, folder, tmp_path, capsys):
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "both" / split)
    (tmp_path / "both" / "train" / "dark" / "01.png").write_bytes(b"no image")
    mrkd.embed(own_run.path, config=config_of(own_run, tmp_path / "both", mode="stream"))
    assert "1 broken images were left out, such as dark/01.png" in capsys.readouterr().out


def test_attention_and_finetuning_work_with_streamed_images(own_run, folder):
    config = config_of(own_run, folder, mode="stream", max_broken_fraction=0.1)
    first = load(config.data).test.names[0]
    (folder / first).write_bytes(b"no image")
    assert mrkd.attend(own_run.path, config).is_file()
    assert len(np.load(own_run.path / "attention.npz")["images"]) == config.attention.images - 1
    results = finetune(own_run.path, config=config, few=5, rates=(1e-3,), scratch=False)
    assert results["data"]["labels"] == 10
    assert results["data"]["test_images"] == len(load(config.data).test) - 1
    assert 0 <= results["pretrained"]["acc1"]["mean"] <= 100
    assert json.dumps(results)
