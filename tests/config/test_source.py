"""How a source of images is written."""

import pytest

from mrkd.config import DataConfig
from mrkd.config.keys import with_present_names
from mrkd.config.source import EMBEDDED, absolute_source, source_name
from mrkd.data.sources.find import FINDERS


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_embedded_set_has_a_finder():
    assert tuple(FINDERS) == EMBEDDED


@pytest.mark.parametrize("typed", ["photos/cats", "./photos/cats", "photos//cats/", "photos/../photos/cats"])
def test_every_spelling_of_a_path_is_the_same_absolute_one(here, typed):
    assert DataConfig(source=typed).source == str(here / "photos" / "cats")


def test_a_set_of_the_hub_and_a_path_are_told_apart_for_good(here, monkeypatch):
    path, hub = absolute_source("photos/cats"), absolute_source("owner/name")
    assert hub == "hub:owner/name"
    monkeypatch.chdir("/")
    assert absolute_source(path) == path
    assert absolute_source(hub) == hub
    assert absolute_source("hf:owner/name:small") == "hub:owner/name:small"
    assert absolute_source("hub:photos/cats") == "hub:photos/cats"


def test_a_missing_path_and_a_misspelled_name_are_no_names_of_the_hub(here):
    assert absolute_source("photos/dogs") == str(here / "photos" / "dogs")
    assert absolute_source("elsewhere/dogs/") == str(here / "elsewhere" / "dogs")
    assert absolute_source("lists/train.csv") == str(here / "lists" / "train.csv")
    assert absolute_source("digts") == "digts"


def test_what_an_older_version_stored_is_a_path_unless_it_says_otherwise(here):
    def stored(source: str) -> str:
        return with_present_names({"data": {"source": source}})["data"]["source"]

    assert stored("photos/cats") == str(here / "photos" / "cats")
    assert stored("owner/name") == str(here / "owner" / "name")
    assert stored("hf:owner/name") == "hub:owner/name"
    assert stored("digits") == "digits"


def test_a_short_name_is_the_last_part(here):
    assert source_name("hub:owner/name:small") == "name:small"
    assert source_name("hub:mnist") == "mnist"
    assert source_name(str(here / "photos")) == "photos"
    assert source_name("/data/train.parquet") == "train"
    assert source_name("digits") == "digits"
