"""Files that come into place in one step, and what killed writers leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrkd.system.files import naming, placed_when_good, remove_leftovers, write_text


def leave(folder: Path) -> list[Path]:
    """What killed writers of several kinds leave."""
    file, tree = folder / ".mrkd-a.json.x1", folder / ".mrkd-b.y2"
    file.write_text("half")
    (tree / "b" / "deep").mkdir(parents=True)
    (tree / "b" / "deep" / "weights").write_text("half")
    dead, pipe = folder / ".mrkd-link", folder / ".mrkd-pipe"
    dead.symlink_to(folder / "nowhere")
    os.mkfifo(pipe)
    return [file, tree, dead, pipe]


def test_leftovers_of_every_kind_are_removed_and_nothing_else(tmp_path):
    left = leave(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / ".own").write_text("mine")
    remove_leftovers(tmp_path)
    assert not any(os.path.lexists(path) for path in left)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".own", "mine"]


def test_what_a_living_writer_has_begun_stays(tmp_path):
    with placed_when_good(tmp_path / "b") as temporary:
        temporary.mkdir()
        remove_leftovers(tmp_path)
        (temporary / "x").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b" / "x").read_text() == "whole"


def test_writing_a_file_again_removes_what_a_killed_writer_of_it_left(tmp_path):
    script = (
        "import os, signal\nfrom pathlib import Path\n"
        "from mrkd.system.files import placed_when_good, write_atomically\n"
        "die = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for line in (
        f"write_atomically(Path({str(tmp_path)!r}) / 'a.json', die)",
        f"with placed_when_good(Path({str(tmp_path)!r}) / 'b') as path: die(path)",
    ):
        assert subprocess.run([sys.executable, "-c", script + line], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "a.json", "whole")
    with placed_when_good(tmp_path / "b") as temporary:
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b"]


def test_an_error_names_the_file(tmp_path):
    with pytest.raises(OSError, match="events") as caught, naming(tmp_path / "events"):
        raise OSError(28, "No space left on device")
    assert caught.value.errno == 28
