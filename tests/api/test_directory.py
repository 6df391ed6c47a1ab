import copy
import os
import pickle
from pathlib import Path

import pytest

from mrkd.api.directory import Directory


@pytest.fixture
def folder(tmp_path) -> Directory:
    (tmp_path / "a.txt").write_text("text")
    return Directory(tmp_path)


def test_it_is_taken_for_its_path_wherever_a_path_is(folder, tmp_path):
    assert os.fspath(folder) == str(folder) == f"{folder}" == str(tmp_path)
    assert Path(folder) == tmp_path
    assert (folder / "a.txt").read_text() == "text"
    assert type(folder / "a.txt") is type(tmp_path)
    assert os.listdir(folder) == ["a.txt"]
    assert tmp_path.parent / folder == tmp_path


def test_it_equals_its_path_and_nothing_else(folder, tmp_path):
    assert folder == tmp_path
    assert tmp_path == folder
    assert folder == Directory(tmp_path)
    assert folder != tmp_path / "b"
    assert folder != str(tmp_path)  # as a path differs from its text
    assert {folder: 1}[tmp_path] == 1
    assert sorted([folder, tmp_path.parent, Directory(tmp_path.parent)])[-1] == folder


def test_methods_of_a_path_work_and_misspelled_names_do_not(folder, tmp_path):
    assert folder.is_dir()
    assert folder.name == tmp_path.name
    assert [path.name for path in folder.glob("*.txt")] == ["a.txt"]
    with pytest.raises(AttributeError, match="'Directory' object has no attribute 'pth'"):
        folder.pth  # noqa: B018


def test_it_can_be_copied_and_pickled(folder):
    assert copy.deepcopy(folder) == folder
    assert pickle.loads(pickle.dumps(folder)) == folder
