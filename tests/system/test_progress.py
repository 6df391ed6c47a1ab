"""What a bar says, and when."""

from mrkd.system.progress import Bar


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
