"""One rule for unlabelled images in every source."""

import json
from decimal import Decimal

import pytest

from mrkd.data.sources.find import list_splits
from mrkd.data.sources.labels import label_of
from mrkd.errors import UserError
from tests.helpers.sources import config, labelled_parquet, png, shard, write_csv


@pytest.mark.parametrize("value", [None, -1, -1.0, float("nan"), Decimal("NaN"), "", "  ", "-1", "nan", "null", "None"])
def test_an_unlabelled_image_is_written_in_many_ways(value):
    assert label_of(value) is None


@pytest.mark.parametrize(
    ("value", "label"), [(0, 0), ("none", "none"), (" cat ", "cat"), (Decimal(3), 3), ("a\nb", r"a\nb"), (-2, -2)]
)
def test_everything_else_is_a_label(value, label):
    assert label_of(value) == label


def from_parquet(folder, texts):
    return labelled_parquet(folder / "x.parquet", texts)


def from_csv(folder, texts):
    return write_csv(folder, "image,label", [f",{'' if text is None else text}" for text in texts])


def from_cls(folder, texts):
    members = [(f"{number}.cls", str(text).encode()) for number, text in enumerate(texts) if text is not None]
    return shard(folder / "x.tar", *((f"{number}.png", png(number)) for number in range(len(texts))), *members)


def from_json(folder, texts):
    members = [(f"{number}.json", json.dumps({"label": text}).encode()) for number, text in enumerate(texts)]
    return shard(folder / "x.tar", *((f"{number}.png", png(number)) for number in range(len(texts))), *members)


SOURCES = [from_parquet, from_csv, from_cls, from_json]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("nothing", [None, "", "-1", "NaN", "None"])
def test_every_source_has_the_same_rule_for_names(tmp_path, source, nothing):
    listings = list_splits(config(source(tmp_path, ["b", nothing, "a", "a", nothing])))
    assert listings.train.class_names == ("a", "b")
    assert listings.train.labels == [1, -1, 0, 0, -1]
    (note,) = listings.notes
    assert note.startswith("train: 2 of 5 images are unlabelled, trained on, not scored: ")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("nothing", [None, -1])
def test_every_source_has_the_same_rule_for_numbers(tmp_path, source, nothing):
    listings = list_splits(config(source(tmp_path, [1, nothing, 0, 0, nothing])))
    assert listings.train.class_names == ("0", "1")
    assert listings.train.labels == [1, -1, 0, 0, -1]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_in_which_nothing_is_labelled_is_unlabelled(tmp_path, source):
    listings = list_splits(config(source(tmp_path, ["-1", "", "null"])))
    assert (listings.train.labels, listings.test, len(listings.train)) == (None, None, 3)
    assert "the training images are unlabelled: the label is " in listings.unscorable


def test_numbers_and_names_are_not_mixed_in_silence(tmp_path):
    with pytest.raises(UserError, match=r"must hold whole numbers in \[0, 1000000\), got 'cat' in row 1"):
        list_splits(config(from_json(tmp_path, [3, "cat"])))
    with pytest.raises(UserError, match="must hold names of classes, got 3 in row 1"):
        list_splits(config(from_json(tmp_path, ["cat", 3])))


def test_a_split_column_of_a_parquet_is_kept(tmp_path):
    from tests.helpers.sources import cells, write_parquet

    columns = {"image": cells(1, 2, 3), "label": ["a", "b", "a"], "Split": ["train", "train", "TEST"]}
    listings = list_splits(config(write_parquet(tmp_path / "x.parquet", **columns)))
    assert (listings.train.labels, listings.test.labels) == ([0, 1], [0])


@pytest.mark.parametrize("source", [from_csv, from_cls])
def test_a_number_with_a_zero_before_it_is_a_name(tmp_path, source):
    listings = list_splits(config(source(tmp_path, ["007", "7", "07", "", "7"])))
    assert listings.train.class_names == ("007", "07", "7")
    assert listings.train.labels == [0, 2, 1, -1, 2]


def test_one_number_that_stands_for_several_classes_is_refused(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    for name, names in {"train": ["cat", "dog"], "test": ["dog", "cat"], "train-more": ["dog", "cat"]}.items():
        features["label"]["names"] = names
        with_features(labelled_parquet(tmp_path / name / f"{name}.parquet", [0, 1]), features)
    (tmp_path / "train" / "test.parquet").write_bytes((tmp_path / "test" / "test.parquet").read_bytes())
    with pytest.raises(UserError, match=r"must name the classes as the others do, got '(cat|dog)' for 0, which is"):
        list_splits(config(tmp_path / "train"))
    (tmp_path / "train" / "test.parquet").unlink()
    (tmp_path / "train" / "more.parquet").write_bytes((tmp_path / "train-more" / "train-more.parquet").read_bytes())
    with pytest.raises(UserError, match=r"must name the classes as the others do, got '(cat|dog)' for 0, which is"):
        list_splits(config(tmp_path / "train"))


def with_features(path, features):
    """Write into a parquet file what the hub's libraries say of its columns."""
    from pyarrow import parquet

    about = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(parquet.read_table(path).replace_schema_metadata(about), path)


def test_classes_that_are_written_in_two_ways_are_told(tmp_path):
    from tests.helpers.sources import fill

    fill(tmp_path, "caf\u00e9", "cafe\u0301", " tea", "tea", "milk")
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == ("caf\u00e9", "milk", "tea")
    assert listings.notes == ("classes written in several ways are one each: caf\u00e9, tea",)
