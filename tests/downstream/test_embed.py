import dataclasses
import json

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
from mrkd.runs.run import RunDirectory
from tests.helpers.sources import labelled_parquet


def test_every_image_of_the_source_gets_the_class_token_of_the_backbone(trained_run, tmp_path):
    found = mrkd.embed(trained_run, data="digits", out=tmp_path / "e.parquet", batch=100)
    splits = load(mrkd.load_config("quick").data)
    order = np.argsort([*splits.train.source_rows, *splits.test.source_rows])
    assert order.tolist() != list(range(1797))  # the test images are drawn from all over the source
    images = torch.cat([splits.train.images, splits.test.images])[order]
    vit = create_vit(RunDirectory(trained_run).config().model, 32)
    vit.load_state_dict(mrkd_tensors(trained_run))
    with torch.no_grad():
        expected = vit.eval()(normalize(images[:50]))
    assert len(found) == 1797
    np.testing.assert_allclose(found.vectors[:50], expected.numpy(), atol=1e-5)
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["path", "split", "label", "class_name", "embedding"]
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), found.vectors)
    labels = torch.cat([splits.train.labels, splits.test.labels])[order]
    assert table["label"].to_pylist() == labels.tolist()
    assert table["split"].to_pylist().count("test") == len(splits.test)
    names = [*splits.train.names, *splits.test.names]
    assert table["path"].to_pylist() == [names[row] for row in order]
    from sklearn.datasets import load_digits

    assert table["class_name"].to_pylist() == [str(digit) for digit in load_digits().target]


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
    run = RunDirectory.open(trained_run)
    small = dataclasses.replace(run.config(), data=dataclasses.replace(run.config().data, train_images=20))
    vit = create_vit(run.config().model, 32)
    vit.load_state_dict(mrkd_tensors(trained_run))
    with torch.no_grad():
        tokens = vit.eval().forward_features(normalize(load(small.data).train.images))
    found = mrkd.embed(trained_run, config=small, tokens="patch-mean")
    own = found.vectors[[split == "train" for split in found.splits]]
    order = np.argsort(load(small.data).train.source_rows)
    np.testing.assert_allclose(own, tokens[order][:, 1:].mean(dim=1).numpy(), atol=1e-5)


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
    assert len(json.loads((tmp_path / "e.paths.json").read_text())) == 130
    with pytest.raises(UserError, match="exists"):
        mrkd.embed(trained_run, out=target)


def labelled_photos(folder):
    for kind, number in (("cat", 3), ("cat", 1), ("dog", 2), ("dog", 0)):
        for copy in range(5):
            path = folder / kind / f"{number}{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((32, 32), 10 + 10 * number + copy).save(path)
    return folder


def test_rows_of_a_labelled_folder_are_in_the_order_of_its_paths_and_a_list_names_them(trained_run, tmp_path):
    photos = labelled_photos(tmp_path / "photos")
    paths = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    found = mrkd.embed(trained_run, data=photos, out=tmp_path / "e.npy")
    assert list(found.paths) == paths
    assert set(found.splits) == {"train", "test"}
    assert [found.class_names[label] for label in found.labels] == [path.split("/")[0] for path in paths]
    # Each row belongs to its image: alone in a folder, the image gives the same vector.
    for row in (0, 7, 19):
        alone = tmp_path / f"alone{row}"
        alone.mkdir()
        (alone / "x.png").write_bytes((photos / paths[row]).read_bytes())
        np.testing.assert_allclose(mrkd.embed(trained_run, data=alone).vectors[0], found.vectors[row], atol=1e-5)


def test_the_list_beside_the_vectors_leaves_out_what_cannot_be_read(trained_run, tmp_path):
    photos = labelled_photos(tmp_path / "photos")
    (photos / "cat" / "12.png").write_bytes(b"nothing")
    arguments = ["--data", str(photos), "--out", str(tmp_path / "e.npy"), "--data.max_broken_fraction", "0.5"]
    assert main(["embed", str(trained_run), *arguments]) == 0
    listed = json.loads((tmp_path / "e.paths.json").read_text())
    assert len(listed) == len(np.load(tmp_path / "e.npy")) == 19
    assert "cat/12.png" not in listed
    assert listed == sorted(listed)


@pytest.mark.parametrize("name", ["e.npz", "cat/e.parquet"])
def test_vectors_inside_the_folder_of_their_images_are_refused(trained_run, tmp_path, monkeypatch, capsys, name):
    photos = labelled_photos(tmp_path / "photos")
    before = sorted(photos.rglob("*"))
    monkeypatch.chdir(photos)
    assert main(["embed", str(trained_run), "--data", ".", "--out", name]) == 2
    assert "must lie outside the images' folder" in capsys.readouterr().err
    assert sorted(photos.rglob("*")) == before


def test_images_in_python_give_the_vectors_of_the_same_images_in_files(trained_run, tmp_path):
    photos = labelled_photos(tmp_path / "photos")
    paths = sorted(photos.rglob("*.png"))
    expected = mrkd.embed(trained_run, data=photos)
    found = mrkd.embed(trained_run, [(Image.open(path), path.parent.name) for path in paths], out=tmp_path / "e.npz")
    np.testing.assert_allclose(found, expected.vectors, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.class_names == expected.class_names
    assert found.paths == tuple(f"image {row}" for row in range(20))
    assert np.asarray(mrkd.embed(trained_run, paths[0])).shape == (1, 16)
    array = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    np.testing.assert_array_equal(mrkd.embed(trained_run, array).vectors, found.vectors)
