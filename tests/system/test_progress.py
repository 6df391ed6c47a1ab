"""What a bar says, and when."""

import io
import re

import pytest
from rich.console import Console

from mrkd.system import progress
from mrkd.system.progress import Bar

STATUS = "loss 1.2345 · k-NN 71.3 % · healthy: fine"


def test_nothing_is_said_of_work_that_ends_within_its_quiet_time(capsys):
    with Bar("short", 3, quiet_seconds=60.0) as bar:
        for _ in range(3):
            bar.advance("images")
    assert capsys.readouterr().out == ""


def test_the_last_step_is_told_of_work_that_took_longer(capsys):
    with Bar("long", 3, quiet_seconds=0.0) as bar:
        bar.advance("loss 1")
        bar.advance("loss 2", 2)
    assert capsys.readouterr().out == "long 3/3 · 0 s left · loss 2\n"


def test_every_line_of_a_log_carries_the_last_numbers(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with Bar("train", 4, status="k-NN 20.0 %") as bar:
        for status in ("", STATUS, "", ""):
            bar.advance(status)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s left · ")[1] for line in lines] == ["k-NN 20.0 %", STATUS, STATUS, STATUS]


def live_line(monkeypatch, width: int) -> str:
    def console() -> Console:
        return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)

    monkeypatch.setattr(progress, "Console", console)
    with Bar("rkd-d seed 0", 200) as bar:
        bar.advance(STATUS, 150)
        bar.advance("")
        assert bar.live is not None
        shown = console()
        shown.print(bar.live.make_tasks_table(bar.live.tasks))
    return shown.file.getvalue()


@pytest.mark.parametrize("width", [160, 100, 80, 72, 64])
def test_a_terminal_shows_the_last_numbers_at_any_width_and_drops_the_bar_first(monkeypatch, width):
    line = live_line(monkeypatch, width)
    assert line.count("\n") == 1
    assert STATUS in line
    assert "rkd-d seed 0" in line
    assert "151/200" in line
    assert ("━" in line) == (width >= 80)
    assert (re.search(r"[\d-]:[\d-]{2}:[\d-]{2}", line) is not None) == (width >= 72)


def test_where_even_the_numbers_do_not_fit_they_stay_on_one_line(monkeypatch):
    line = live_line(monkeypatch, 40)
    assert line.count("\n") == 1
    assert "151/200" in line
    assert "loss 1.2" in line


def test_a_message_is_shown_as_it_is(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda: console)
    with Bar("a", 2) as bar:
        bar.say("warning: term rkd-d [cls] \x1b[2J")
    assert r"warning: term rkd-d [cls] \x1b[2J" in console.file.getvalue()
