"""Shared parts of the tests of training."""

from pathlib import Path

import pytest

import mrkd
from tests.helpers.interruptions import settings


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `settings()` that nothing disturbed, for tests that only read it."""
    return mrkd.pretrain(settings(), tmp_path_factory.mktemp("whole") / "run")
