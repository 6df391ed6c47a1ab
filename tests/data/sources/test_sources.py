"""Names of sources: the hub, paths, files that are none of them."""

import numpy as np
import pytest

from mrkd.config import DataConfig
from mrkd.data.decode import read_image
from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import cells, config, fill, put


def test_the_hub_is_asked_for_names_that_are_no_paths(monkeypatch):
    import datasets

    asked = []
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    table = datasets.Dataset.from_dict({"image": cells(5, 6), "label": [1, 0]}, features=features)

    def answer(*name: object) -> datasets.DatasetDict:
        asked.append(name)
        return datasets.DatasetDict(train=table, validation=table)

    monkeypatch.setattr(datasets, "load_dataset", answer)
    for source in ("hub:somebody/things", "somebody/things:small"):
        splits = load(config(source))
        assert splits.name.startswith("things")
        assert splits.train.images[:, 0, 0, 0].tolist() == [5, 6]
        assert splits.test.labels.tolist() == [1, 0]
        assert splits.test.class_names == ("a", "b")
    assert asked == [("somebody/things", None), ("somebody/things", "small")]


def test_a_hub_that_cannot_be_reached_is_one_clear_line(monkeypatch):
    import datasets

    def fail(*name: object) -> None:
        raise ConnectionError("no route\n to host")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"'some/thing' from the Hugging Face .*no route to"):
        list_splits(config("some/thing"))


@pytest.fixture
def asked(monkeypatch):
    """What the hub, which has nothing, was asked for."""
    import datasets

    names: list[str] = []

    def fail(name: str, configuration: str | None) -> None:
        names.append(name)
        raise ConnectionError("no such thing")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    return names


@pytest.mark.parametrize(
    "source",
    [
        "data/photos",
        "./photos",
        "../photos",
        "/no/photos",
        "~/no photos",
        "~nobody0/x",
        "photos/",
        "lists/train.csv",
        "shards/train.tar",
    ],
)
def test_a_missing_path_is_not_asked_of_the_hub(tmp_path, monkeypatch, asked, source):
    fill(tmp_path, "data/photo")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"must be an existing path, and nothing is there: .* hub:owner/name"):
        list_splits(config(source))
    assert asked == []


def test_a_name_after_hub_is_always_asked_of_the_hub(tmp_path, monkeypatch, asked):
    fill(tmp_path, "data/photos", "hub:data/photos")
    monkeypatch.chdir(tmp_path)
    for source in ("hub:data/photos", "hub:data/other", "hub:mnist", "nobody/other", "hf:data/older"):
        with pytest.raises(UserError, match="from the Hugging Face hub"):
            list_splits(config(source))
    assert asked == ["data/photos", "data/other", "mnist", "nobody/other", "data/older"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.png"])
def test_other_files_are_refused_with_what_to_do(tmp_path, name):
    put(tmp_path / name)
    with pytest.raises(UserError, match="must be parquet, tar, csv or tsv"):
        list_splits(config(tmp_path / name))


def test_digits_are_listed_like_everything_else():
    listing = list_splits(DataConfig(size=32)).train
    assert isinstance(listing.cells[0], np.ndarray)
    assert read_image(listing.cells[0], 16, 10_000).shape == (16, 16, 3)
