"""A run goes on with the images that it was trained on, wherever they lie, and with no others."""

import shutil
from pathlib import Path

import pytest

import mrkd
from mrkd.cli import main
from mrkd.config import Config
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from tests.helpers.interruptions import settings
from tests.helpers.stopping import stopped


def test_changed_training_images_are_refused(tmp_path, monkeypatch):
    stopped(settings(), tmp_path / "run", 4)
    monkeypatch.setattr("mrkd.data.resident.ResidentDataset.fingerprint", "120x3x32x32-00000000")
    with pytest.raises(UserError, match="the training images have changed: expected 120x3x32x32-"):
        mrkd.pretrain(settings(), tmp_path / "run")


def some_photos(folder: Path, first: int = 10, count: int = 30) -> Path:
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(count):
        Image.effect_noise((32, 32), first + number).save(folder / f"{number:02d}.png")
    return folder


def trained_on(source: Path | str, **more: object) -> Config:
    return settings(**{"data.source": str(source), "train.batch": 20, "train.epochs": 8, **more})


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_run_goes_on_with_its_images_elsewhere_and_with_no_others(tmp_path, monkeypatch, mode):
    photos, more = some_photos(tmp_path / "a" / "photos"), {"data.mode": mode, "data.workers": 1}
    monkeypatch.chdir(tmp_path / "a")
    stopped(trained_on("photos", **more), tmp_path / "run", 4)
    assert RunDirectory(tmp_path / "run").config().data.source == str(photos)
    before = (tmp_path / "run" / "config.yaml").read_text()
    others = some_photos(tmp_path / "others", first=60, count=30 if mode == "resident" else 31)
    with pytest.raises(UserError, match="the training images have changed"):
        mrkd.pretrain(trained_on(others, **more), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    shutil.copytree(photos, tmp_path / "b" / "pictures")
    shutil.rmtree(photos)
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(UserError, match=r"must be an existing path, and nothing is there: .* --data\.source"):
        mrkd.pretrain(RunDirectory(tmp_path / "run").config(), tmp_path / "run")
    assert main(["pretrain", "--resume", str(tmp_path / "run"), "--data", "pictures"]) == 0
    assert RunDirectory(tmp_path / "run").config().data.source == str(tmp_path / "b" / "pictures")
    with pytest.raises(UserError, match="the training images have changed"):
        mrkd.pretrain(trained_on(others, **more), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").config().data.source == str(tmp_path / "b" / "pictures")


def test_a_finished_run_follows_its_images_while_a_checkpoint_says_which_they_are(tmp_path, capsys):
    photos = some_photos(tmp_path / "photos")
    mrkd.pretrain(trained_on(photos), tmp_path / "run")
    photos.rename(tmp_path / "moved")
    mrkd.pretrain(trained_on(tmp_path / "moved"), tmp_path / "run")
    assert f"are those at {tmp_path / 'moved'}, which were at {photos}" in capsys.readouterr().out
    assert RunDirectory(tmp_path / "run").config() == trained_on(tmp_path / "moved")
    assert not (tmp_path / "run" / "run.lock").exists()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError, match="is finished and has no checkpoint to compare images with: name those at"):
        mrkd.pretrain(trained_on(some_photos(tmp_path / "again")), tmp_path / "run")


def test_a_link_to_the_images_is_another_spelling_of_their_place(tmp_path):
    photos = some_photos(tmp_path / "photos")
    (tmp_path / "link").symlink_to(photos)
    stopped(trained_on(photos), tmp_path / "run", 4)
    mrkd.pretrain(trained_on(tmp_path / "link"), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").finished


def test_the_relative_path_of_an_older_run_is_never_asked_of_the_hub(tmp_path, monkeypatch):
    import datasets

    some_photos(tmp_path / "a" / "my" / "photos")
    monkeypatch.chdir(tmp_path / "a")
    stopped(trained_on("my/photos"), tmp_path / "run", 4)
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace(str(tmp_path / "a" / "my"), "my"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: pytest.fail("the hub was asked"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="must be an existing path, and nothing is there"):
        mrkd.pretrain(RunDirectory(tmp_path / "run").config(), tmp_path / "run")
    monkeypatch.chdir(tmp_path / "a")
    assert main(["pretrain", "--resume", str(tmp_path / "run")]) == 0
