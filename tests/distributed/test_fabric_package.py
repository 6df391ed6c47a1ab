import importlib
import sys

import pytest

from mrkd.distributed.fabric_package import version_only


def test_a_package_is_only_its_version_inside_and_whole_afterwards(monkeypatch):
    whole = importlib.import_module("iniconfig")
    monkeypatch.delitem(sys.modules, "iniconfig")
    with version_only("iniconfig"):
        stub = importlib.import_module("iniconfig")
        assert stub.__version__ == importlib.metadata.version("iniconfig")
        assert not hasattr(stub, "IniConfig")
    assert hasattr(importlib.import_module("iniconfig"), "IniConfig")
    assert whole is not stub


def test_a_package_that_is_open_already_stays_whole():
    with version_only("pytest"):
        assert importlib.import_module("pytest") is pytest


def test_a_missing_package_is_missing_inside_too():
    with version_only("no-such-package"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("no-such-package")
