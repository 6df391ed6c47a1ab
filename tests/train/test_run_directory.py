"""Whose directory a run's is, and what happens when it cannot be written."""

import errno
import os
import shutil
from pathlib import Path

import pytest

import mrkd
from mrkd.cli import main
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from tests.helpers.interruptions import assert_like, newest_step, settings
from tests.helpers.stopping import at_step, stopped


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / ".own.settings").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        mrkd.pretrain(settings(), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".own.settings"]


def test_a_run_inside_the_folder_of_its_images_is_refused(tmp_path):
    from PIL import Image

    for number in range(4):
        Image.effect_noise((32, 32), 10 + number).save(tmp_path / f"{number}.png")
    config = settings(**{"data.source": str(tmp_path), "train.batch": 2})
    with pytest.raises(UserError, match="must lie outside the images' folder"):
        mrkd.pretrain(config, tmp_path / "run")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_left_by_a_killed_export_does_not_stop_a_run_from_going_on(tmp_path):
    stopped(settings(), tmp_path / "run", 4)
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        (place / ".mrkd-backbone.pt.abc" / "backbone").mkdir(parents=True)
        (place / ".mrkd-backbone.pt.abc" / "backbone" / "half").write_bytes(b"half")
    mrkd.pretrain(settings(), tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".mrkd-*"))


def test_a_directory_in_use_is_refused_and_a_lock_left_by_a_crash_is_not(tmp_path):
    run = RunDirectory.start(tmp_path / "run", settings())
    with pytest.raises(UserError, match="another process is writing"):
        RunDirectory.start(tmp_path / "run", settings())
    run.close()
    (tmp_path / "run" / "run.lock").write_text("")
    RunDirectory.start(tmp_path / "run", settings()).close()


def test_a_lock_file_removed_while_waiting_for_it_gives_no_second_writer(tmp_path, monkeypatch):
    import fcntl

    first = RunDirectory.start(tmp_path / "run", settings())
    true_flock = fcntl.flock

    def release_first(lock: object, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", true_flock)
        first.close()
        true_flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", release_first)
    second = RunDirectory.start(tmp_path / "run", settings())
    with pytest.raises(UserError, match="another process is writing"):
        RunDirectory.start(tmp_path / "run", settings())
    second.close()


def test_a_full_disk_a_read_only_one_and_a_vanished_directory_are_one_line(whole, tmp_path, capsys, monkeypatch):
    import mrkd.runs.run as run_module

    true_replace = Path.replace

    out = tmp_path / "run"
    stopped(settings(), out, 4)
    for number, reason in ((errno.ENOSPC, "the disk is full"), (errno.EROFS, "Read-only file system")):

        def refuse(path: Path, target: Path, number: int = number) -> Path:
            if "step-00000006" in str(target):
                raise OSError(number, os.strerror(number))
            return true_replace(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(run_module.Path, "replace", refuse)
            assert main(["pretrain", "--resume", str(out)]) == 2
        error = capsys.readouterr().err
        assert "step-00000006" in error
        assert reason in error
        assert error.count("\n") == 1
        assert newest_step(out) == 4
    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: shutil.move(out, tmp_path / "moved"))
        assert main(["pretrain", "--resume", str(out)]) == 2
    error = capsys.readouterr().err
    assert "No such file or directory" in error
    assert error.count("\n") == 1
    assert not out.exists()
    mrkd.pretrain(settings(), tmp_path / "moved")
    assert_like(tmp_path / "moved", whole)
