import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import mrkd
from mrkd.cli import main
from mrkd.data.augment.views import normalize
from mrkd.data.load import load
from mrkd.errors import UserError
from mrkd.model.backbone import create_vit
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import Run
from tests.helpers.sources import labelled_parquet


def test_every_image_of_the_source_gets_the_class_token_of_the_backbone(trained_run, tmp_path):
    found = mrkd.embed(trained_run, data="digits", out=tmp_path / "e.parquet", batch=100)
    splits = load(mrkd.load_config("quick").data)
    images = torch.cat([splits.train.images, splits.test.images])
    vit = create_vit(Run(trained_run).config().model, 32)
    vit.load_state_dict(mrkd_tensors(trained_run))
    with torch.no_grad():
        expected = vit.eval()(normalize(images[:50]))
    assert len(found) == 1797
    np.testing.assert_allclose(found.vectors[:50], expected.numpy(), atol=1e-5)
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["path", "split", "label", "class_name", "embedding"]
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), found.vectors)
    assert table["label"].to_pylist() == [*splits.train.labels.tolist(), *splits.test.labels.tolist()]
    assert table["split"].to_pylist().count("test") == len(splits.test)
    assert table["path"][0].as_py() == splits.train.names[0]


def mrkd_tensors(run):
    from safetensors.torch import load_file

    return load_file(run / "backbone.safetensors")


def test_a_flat_folder_is_embedded_by_path_without_labels(trained_run, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(5):
        Image.new("RGB", (40, 30), (40 * number, 90, 30)).save(tmp_path / "images" / f"{number}.png")
    found = mrkd.embed(trained_run, data=tmp_path / "images", out=tmp_path / "e.npz")
    arrays = np.load(tmp_path / "e.npz")
    assert arrays["paths"].tolist() == [f"{number}.png" for number in range(5)]
    assert "labels" not in arrays
    np.testing.assert_array_equal(arrays["embeddings"], found.vectors)


def test_unlabelled_images_among_labelled_ones_have_no_class_name(trained_run, tmp_path):
    source = labelled_parquet(tmp_path / "images" / "x.parquet", ["a", "b", None] * 5)
    found = mrkd.embed(trained_run, data=source, out=tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet")
    assert sorted(found.labels.tolist()) == [-1] * 5 + [0] * 5 + [1] * 5
    names = {0: "a", 1: "b", -1: None}
    assert table["class_name"].to_pylist() == [names[label] for label in found.labels.tolist()]


def test_the_mean_of_the_patches_is_another_vector(trained_run):
    run = Run.open(trained_run)
    small = dataclasses.replace(run.config(), data=dataclasses.replace(run.config().data, train_images=20))
    vit = create_vit(run.config().model, 32)
    vit.load_state_dict(mrkd_tensors(trained_run))
    with torch.no_grad():
        tokens = vit.eval().forward_features(normalize(load(small.data).train.images))
    found = mrkd.embed(trained_run, config=small, tokens="patch-mean")
    np.testing.assert_allclose(found.vectors[:20], tokens[:, 1:].mean(dim=1).numpy(), atol=1e-5)


def test_any_checkpoint_gives_its_own_teacher(trained_run):
    saved = {checkpoint.step: checkpoint for checkpoint in Checkpoints(trained_run / "checkpoints", 1).listed()}
    assert set(saved) == {2, 4}
    last, final, early = (mrkd.embed(trained_run, checkpoint=name).vectors for name in ("4", "backbone", "step-2"))
    np.testing.assert_array_equal(last, final)
    assert not np.array_equal(early, final)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "e.csv"], "ending in .parquet, .npy, .npz"),
        (["--out", "e.npy", "--checkpoint", "3"], "its steps: 2"),
        (["--out", "e.npy", "--checkpoint", "bst"], "backbone, best, last or a step"),
        (["--out", "e.npy", "--data", "/nope"], "existing path"),
        (["--out", "e.npy", "--data.sise", "3"], "did you mean 'data.size'"),
    ],
)
def test_bad_requests_are_one_line(trained_run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["embed", str(trained_run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_file_and_never_over_another(trained_run, tmp_path, capsys):
    target = tmp_path / "e.npy"
    assert main(["embed", str(trained_run), "--out", str(target), "--data.train_images", "30"]) == 0
    assert "16 numbers each, 10 classes" in capsys.readouterr().out
    assert np.load(target).shape == (130, 16)
    with pytest.raises(UserError, match="exists"):
        mrkd.embed(trained_run, out=target)
