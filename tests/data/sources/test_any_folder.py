"""Folders with several kinds of files: what has most images is read, and the rest is told."""

import pytest

from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import cells, config, fill, labelled_parquet, png, shard, write_csv, write_parquet


def test_a_stray_tar_beside_images_is_told(tmp_path):
    fill(tmp_path, "a", "b")
    shard(tmp_path / "backup.tar", ("1.png", png()))
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == ("a", "b")
    (note,) = listings.notes
    assert note.startswith("not read: 1 tar files (backup.tar) with 1 images, because there are 10 in image files: ")


@pytest.mark.parametrize("columns", [{"file": ["a/0.png"]}, {"image": ["a/0.png"]}])
def test_a_stray_table_beside_images_is_told(tmp_path, columns):
    fill(tmp_path, "a", "b")
    write_parquet(tmp_path / "metadata.parquet", **columns)
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == ("a", "b")
    assert listings.notes[0].startswith("not read: 1 parquet files (metadata.parquet)")


def test_a_table_of_all_images_beside_them_is_read(tmp_path):
    fill(tmp_path, "images", each=4)
    names = [f"images/{number}.png" for number in range(4)]
    write_parquet(tmp_path / "labels.parquet", image=names, label=["a", "b", "a", "b"])
    assert list_splits(config(tmp_path)).train.labels == [0, 1, 0, 1]


def test_images_beside_more_of_them_in_parquet_are_told(tmp_path):
    labelled_parquet(tmp_path / "data/train-0.parquet", [0, 1] * 5)
    fill(tmp_path, "assets", each=1)
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == ("0", "1")
    assert "not read: 1 image files (assets/0.png) with 1 images" in listings.notes[0]


def test_parquet_files_without_rows_are_told(tmp_path):
    labelled_parquet(tmp_path / "train-0.parquet", [0, 1] * 5)
    write_parquet(tmp_path / "train-1.parquet", image=cells(), label=[])
    write_parquet(tmp_path / "test-0.parquet", image=cells(), label=[])
    splits = load(config(tmp_path, mode="resident"))
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert splits.notes == ("2 of 3 parquet files have no rows (test-0.parquet, train-1.parquet)",)


def test_a_folder_of_nothing_but_what_is_not_read_says_so(tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"no readable images found .*archives, which must be unpacked, such as photos"):
        list_splits(config(tmp_path))


def test_a_table_can_be_named_itself(tmp_path):
    path = write_csv(tmp_path, "image,label", [",a", ",b"])
    assert "list.csv; a CSV or TSV can be named itself" in list_splits(config(tmp_path)).notes[0]
    assert list_splits(config(path)).train.class_names == ("a", "b")
