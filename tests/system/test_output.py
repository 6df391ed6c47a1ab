"""The terminal and the pipe, gone while the work goes on."""

import errno
import io
import os
import subprocess
import sys

import pytest

from mrkd.system.output import lasting_output, printable, say


def test_nothing_in_a_name_can_steer_a_terminal_or_begin_a_line():
    assert printable("cat\x1b[2J\n\r\tdog\x00\x9b") == r"cat\x1b[2J\n\r\tdog\x00\x9b"
    assert printable("gpj\u202e.exe\u2028") == r"gpj\u202e.exe\u2028"
    assert printable("caf\udce9") == r"caf\udce9"
    assert printable("Größe 猫 👩‍🔬 a b") == "Größe 猫 👩‍🔬 a b"


def test_one_thing_said_is_one_line(capsys):
    say("broken: a\nb\x1b]0;title\x07.png")
    assert capsys.readouterr().out == "broken: a\\nb\\x1b]0;title\\x07.png\n"


def run(script: str, **how) -> subprocess.CompletedProcess:
    script = f"import os, sys\nfrom mrkd.system.output import lasting_output\n{script}"
    return subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=60, check=False, **how)


AFTERWARDS = """
with lasting_output() as output:
    for number in range(20000):
        print("line", number, flush=True)
    os.system("echo from a child")
    print("at the end")
open(os.environ["DONE"], "w").write(str(output.lost))
"""


def test_work_goes_on_and_says_nothing_when_the_reader_of_its_output_has_gone(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(AFTERWARDS, stdout=writing, env={**os.environ, "DONE": str(tmp_path / "done")})
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").read_text() == "None"


def test_work_goes_on_when_its_terminal_is_gone(tmp_path):
    import pty

    own, theirs = pty.openpty()
    os.close(own)
    done = run(AFTERWARDS, stdout=theirs, env={**os.environ, "DONE": str(tmp_path / "done")})
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").read_text() == "None"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_remembered(tmp_path):
    with open("/dev/full", "w") as full:
        done = run(AFTERWARDS, stdout=full, env={**os.environ, "DONE": str(tmp_path / "done")})
    assert f"[Errno {errno.ENOSPC}]" in (tmp_path / "done").read_text()
    assert done.returncode == 0


def test_a_reader_that_is_slow_gets_everything_though_the_pipe_does_not_block(tmp_path):
    script = "os.set_blocking(1, False)\nwith lasting_output():\n    print('x' * 1_000_000)"
    assert run(script, stdout=subprocess.PIPE).stdout == b"x" * 1_000_000 + b"\n"


def test_descriptors_that_were_closed_at_the_start_are_not_given_to_files(tmp_path):
    script = "with lasting_output():\n    file = open(os.environ['DONE'], 'w')\n    os.system('echo noise')\n"
    script += "    print('text')\n    file.write(str(file.fileno() > 2))"
    environment = {**os.environ, "DONE": str(tmp_path / "done")}
    run(script, env=environment, preexec_fn=lambda: [os.close(0), os.close(1)])
    assert (tmp_path / "done").read_text() == "True"


def test_streams_that_are_no_files_are_left_as_they_are(capsys):
    before = sys.stdout
    with lasting_output():
        assert sys.stdout is before
        print("kept")
    assert capsys.readouterr().out == "kept\n"


class NotebookStream(io.StringIO):
    def fileno(self) -> int:
        return 1


def test_the_stream_of_a_notebook_is_left_as_it_is(monkeypatch, capfd):
    stream = NotebookStream()
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_output():
        print("kept")
    assert stream.getvalue() == "kept\n"
    assert capfd.readouterr().out == ""


def test_a_function_does_its_work_to_the_end_though_text_from_before_it_finds_no_reader(tmp_path):
    script = """
from mrkd.system.output import with_lasting_output
@with_lasting_output
def work(word):
    for number in range(20000):
        print("line", number, flush=True)
    open(os.environ["DONE"], "w").write(word)
    return word
print("text from before")
assert work("done") == "done"
print("text from afterwards")
"""
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = run(script, stdout=writing, env={**buffered, "DONE": str(tmp_path / "done")})
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_function_warns_of_text_that_found_no_room():
    script = "from mrkd.system.output import with_lasting_output\n"
    script += "assert with_lasting_output(lambda: print('x', flush=True) or 7)() == 7"
    with open("/dev/full", "w") as full:
        done = run(script, stdout=full)
    assert done.returncode == 0
    assert b"UserWarning: a part of the printed text was lost (No space left on device)" in done.stderr


def test_every_verb_of_the_package_has_lasting_output():
    import mrkd
    from mrkd.api.verbs import pretrain

    assert mrkd.pretrain.__wrapped__ is pretrain
    assert mrkd.pretrain is mrkd.pretrain
