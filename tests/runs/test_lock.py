"""One writer of a run directory, whatever is done to the directory."""

import os
import shutil
from pathlib import Path

import pytest

import mrkd
from mrkd.cli import main
from mrkd.errors import UserError
from mrkd.reporting.listing import list_runs
from mrkd.runs.lock import LOCK, DirectoryLock, is_locked
from mrkd.runs.run import RunDirectory
from tests.helpers.interruptions import newest_step, settings
from tests.helpers.stopping import at_step


def test_a_lock_that_is_a_link_leaves_the_file_behind_it_as_it_is(tmp_path):
    (tmp_path / "precious").write_text("kept")
    for target in ("precious", "nothing"):
        (tmp_path / LOCK).symlink_to(target)
        with pytest.raises(UserError, match=r"run\.lock must be a plain file"):
            DirectoryLock(tmp_path)
        with pytest.raises(UserError, match=r"run\.lock must be a plain file"):
            is_locked(tmp_path)
        (tmp_path / LOCK).unlink()
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.timeout(20)
def test_a_lock_that_is_a_pipe_or_a_folder_is_refused_at_once(tmp_path):
    for make in (os.mkfifo, os.mkdir):
        make(tmp_path / LOCK)
        with pytest.raises(UserError, match=r"run\.lock must be a plain file"):
            DirectoryLock(tmp_path)
        os.unlink(tmp_path / LOCK) if make is os.mkfifo else os.rmdir(tmp_path / LOCK)


def test_what_is_in_a_lock_file_is_not_emptied_by_a_second_writer(tmp_path):
    (tmp_path / LOCK).write_text("text")
    lock = DirectoryLock(tmp_path)
    with pytest.raises(UserError, match="another process is writing"):
        DirectoryLock(tmp_path)
    assert (tmp_path / LOCK).read_text() == "text"
    assert is_locked(tmp_path)
    lock.release()
    assert not is_locked(tmp_path)


def test_a_lock_that_somebody_removed_is_taken_again(tmp_path):
    lock = DirectoryLock(tmp_path)
    (tmp_path / LOCK).unlink()
    lock.check()
    assert is_locked(tmp_path)
    (tmp_path / LOCK).unlink()
    other = DirectoryLock(tmp_path)
    with pytest.raises(UserError, match="another process is writing"):
        lock.check()
    lock.release()
    assert is_locked(tmp_path), "the first writer removed the lock of the second"
    other.release()


def test_nothing_leaves_descriptors_open(tmp_path):
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        lock = DirectoryLock(tmp_path)
        lock.check()
        with pytest.raises(UserError):
            DirectoryLock(tmp_path)
        is_locked(tmp_path)
        lock.release()
    assert len(os.listdir("/dev/fd")) == before


def test_a_training_whose_directory_was_moved_touches_no_run_that_took_its_name(tmp_path, capsys, monkeypatch):
    out, moved = tmp_path / "run", tmp_path / "moved"
    second = []

    def move_and_begin_another() -> None:
        shutil.move(out, moved)
        second.append(RunDirectory.start(out, settings()))
        (out / "metrics.jsonl").write_text("")

    with monkeypatch.context() as patch:
        at_step(patch, 7, move_and_begin_another)
        with pytest.raises(UserError, match="is another directory now"):
            mrkd.pretrain(settings(), out)
    assert {path.name for path in out.rglob("*")} == {"config.yaml", "metrics.jsonl", "checkpoints", LOCK}
    assert (out / "metrics.jsonl").read_text() == ""
    assert RunDirectory(out).being_written
    second[0].close()
    assert newest_step(moved) == 6
    assert [line.state for line in list_runs(moved)] == ["stopped"]
    assert main(["pretrain", "--resume", str(moved)]) == 0
    assert RunDirectory(moved).finished


@pytest.mark.parametrize("name", ["summary.json", "backbone.safetensors"])
def test_a_directory_moved_just_before_the_end_gets_no_results_of_the_other(tmp_path, monkeypatch, name):
    from mrkd.train.loop import Training

    out, true_finish = tmp_path / "run", Training.finish

    def finish(training: Training) -> None:
        shutil.move(out, tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", out)
        true_finish(training)

    monkeypatch.setattr(Training, "finish", finish)
    with pytest.raises(UserError, match="is another directory now"):
        mrkd.pretrain(settings(**{"train.epochs": 1}), out)
    assert not (Path(out) / name).exists()
