"""Columns by name, and files of a hub repository."""

import pytest

from mrkd.data.decode import read_image
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import cells, config, png, write_parquet


def test_a_downloaded_hub_repository_is_read_by_the_names_of_its_files(tmp_path):
    (tmp_path / "README.md").write_text("a data set")
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", image=cells(1, 2), label=["dog", "cat"])
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", image=cells(3), label=["dog"])
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", image=cells(9), label=["dog"])
    splits = list_splits(config(tmp_path))
    assert splits.train.class_names == splits.test.class_names == ("cat", "dog")
    assert (splits.train.labels, splits.test.labels) == ([1, 0, 1], [1])
    assert splits.train.names[-1] == "train-00001-of-00002.parquet row 0"
    assert [read_image(cell, 8, 100)[0, 0, 0] for cell in splits.train.cells.many([2, 0])] == [3, 1]
    assert splits.train.take([2]).cells[0] == png(3)


def test_columns_are_found_by_the_names_given(tmp_path):
    write_parquet(tmp_path / "x.parquet", picture=cells(1, 2), kind=["a", "b"])
    splits = list_splits(config(tmp_path, image_column="picture", label_column="kind"))
    assert splits.train.class_names == ("a", "b")
    with pytest.raises(UserError, match=r"no image column 'img'; its columns are picture, kind: set data.image_column"):
        list_splits(config(tmp_path))
    with pytest.raises(UserError, match="no label column 'sort'"):
        list_splits(config(tmp_path, image_column="picture", label_column="sort"))
