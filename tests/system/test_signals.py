"""What SIGHUP does: nothing, or below torchrun what SIGTERM does."""

import os
import signal

import pytest

from mrkd.system.signals import StopRequest, hangup_ignored


def test_a_closed_terminal_is_ignored_and_only_while_the_work_lasts():
    before = signal.getsignal(signal.SIGHUP)
    with hangup_ignored(), StopRequest() as request:
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.received is None
    assert signal.getsignal(signal.SIGHUP) == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_below_torchrun_it_is_a_request_to_stop(monkeypatch, number):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    before = signal.getsignal(signal.SIGHUP)
    with hangup_ignored(), StopRequest() as request:
        os.kill(os.getpid(), number)
        assert request.received == number
    assert signal.getsignal(signal.SIGHUP) == before
