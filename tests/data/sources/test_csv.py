"""Lists of paths as CSV or TSV."""

import pytest

from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import config, put, write_csv


def test_a_csv_lists_paths_labels_and_splits(tmp_path):
    for shade in (1, 2, 3):
        put(tmp_path / "images" / f"{shade}.png", shade)
    text = '\ufefffile,label,split\nimages/3.png,dog,train\n"images/1.png",cat,train\nimages/2.png,dog,test\n'
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    splits = load(config(tmp_path / "list.csv"))
    assert splits.train.images[:, 0, 0, 0].tolist() == [3, 1]
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.test.labels.tolist() == [1]
    (tmp_path / "list.tsv").write_text("a\tb\nimages/3.png\t7\nimages/1.png\t2\n")
    numbers = list_splits(config(tmp_path / "list.tsv", image_column="a", label_column="b", holdout="validation"))
    assert numbers.train.class_names == tuple("01234567")


def test_a_csv_cannot_name_files_outside_its_folder_unless_it_is_trusted(tmp_path):
    put(tmp_path / "secret.png", 7)
    (tmp_path / "inside").mkdir()
    for text in ("../secret.png", str(tmp_path / "secret.png")):
        (tmp_path / "inside" / "x.csv").write_text(f"path\n{text}\n")
        with pytest.raises(UserError, match=r"row 0: .* leads out of the folder of the CSV"):
            list_splits(config(tmp_path / "inside" / "x.csv"))
        trusted = load(config(tmp_path / "inside" / "x.csv", outside_paths=True))
        assert trusted.train.images[0, 0, 0, 0] == 7


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'path\n"open', b"size\n3\n"])
def test_a_csv_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"x.csv"):
        list_splits(config(tmp_path / "x.csv"))


def test_names_of_columns_and_values_are_stripped_and_compared_without_case(tmp_path):
    rows = [", cat,TRAIN", ",cat ,Train", ",dog, train", ",dog,TEST"]
    listings = list_splits(config(write_csv(tmp_path, "Image, LABEL, Split", rows)))
    assert listings.train.class_names == ("cat", "dog")
    assert (listings.train.labels, listings.test.labels) == ([0, 0, 1], [1])


@pytest.mark.parametrize("column", ["split", "Set", "subset", "partition"])
@pytest.mark.parametrize("word", ["dev", "Val", "VALIDATION"])
def test_a_column_says_the_split_of_each_row(tmp_path, column, word):
    rows = [",a,train", ",b,train", f",a,{word}"]
    listings = list_splits(config(write_csv(tmp_path, f"image,label,{column}", rows)))
    assert (listings.train.labels, listings.test.labels) == ([0, 1], [0])


@pytest.mark.parametrize("word", ["holdout", "", "0"])
def test_a_split_that_is_none_is_refused(tmp_path, word):
    path = write_csv(tmp_path, "image,label,split", [",a,train", f",b,{word}"])
    with pytest.raises(UserError, match=rf"'split' must say train, validation .* or unlabeled, got '{word}' in row 1"):
        list_splits(config(path))


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ", "])
def test_the_delimiter_is_the_one_that_makes_a_column_of_paths(tmp_path, delimiter):
    path = write_csv(tmp_path, f"image{delimiter}label", [f"{delimiter}cat", f"{delimiter}dog"])
    assert list_splits(config(path)).train.class_names == ("cat", "dog")


def test_utf_16_is_read_and_latin_1_is_refused_with_what_to_do(tmp_path):
    rows = [",caf\u00e9", ",tea"]
    path = write_csv(tmp_path, "image,label", rows, encoding="utf-16")
    assert list_splits(config(path)).train.class_names == ("caf\u00e9", "tea")
    with pytest.raises(UserError, match=r"list.csv as CSV in UTF-8: .*save it as UTF-8"):
        list_splits(config(write_csv(tmp_path, "image,label", rows, encoding="latin-1")))


def test_rows_that_are_too_long_are_refused_and_short_ones_have_no_label(tmp_path):
    with pytest.raises(UserError, match="row 1 must have 2 cells, got 3: put text with a delimiter in quotes"):
        list_splits(config(write_csv(tmp_path, "image,label", [",cat", ",a,b"])))
    listings = list_splits(config(write_csv(tmp_path, "image,label", [",cat,", ""])))
    assert listings.train.labels == [0, -1]


def test_two_label_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"list.csv has 2 columns 'label': rename all but one"):
        list_splits(config(write_csv(tmp_path, "image,label,label", [",cat,dog"])))


def test_images_in_several_rows_are_told(tmp_path):
    path = write_csv(tmp_path, "image,label", [",a", ",b"])
    path.write_text(path.read_text() + "0.png,b\n1.png,b\n")
    note = "list.csv: 2 images are in several rows, 1 with several labels: 0.png, 1.png"
    assert list_splits(config(path)).notes == (note,)


def test_marks_of_no_width_around_names_are_no_part_of_them(tmp_path):
    rows = [",cat\u200b", ",cat", ",\xa0dog"]
    listings = list_splits(config(write_csv(tmp_path, "\u200bimage,label\ufeff", rows)))
    assert listings.train.class_names == ("cat", "dog")


def test_columns_without_a_usual_name_are_named(tmp_path):
    listings = list_splits(config(write_csv(tmp_path, "image,species", [",cat", ",dog"])))
    assert "the columns are image, species: set data.label_column" in listings.unscorable


def test_numbers_of_spreadsheets_are_classes_and_fractions_are_refused(tmp_path):
    listings = list_splits(config(write_csv(tmp_path, "image,label", [",1.0", ",0", ",", ",2.0"])))
    assert (listings.train.labels, listings.train.class_names) == ([1, 0, -1, 2], ("0", "1", "2"))
    with pytest.raises(UserError, match=r"whole numbers in \[0, 1000000\), got 0.5 in row 1"):
        list_splits(config(write_csv(tmp_path, "image,label", [",1", ",0.5"])))


def test_columns_that_are_not_read_are_told(tmp_path):
    path = write_csv(tmp_path, "image,label,class,is_train", [",a,1,0", ",b,2,1"])
    assert list_splits(config(path)).notes == (
        "list.csv: of its columns 'image', 'label' are read, not class, is_train",
    )
    assert list_splits(config(path, label_column="class")).notes == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "list.csv is empty: expected a line of column names"),
        (b"image,label\n", "list.csv names no image: expected one line per image"),
        (b"image,label\n0.png,1\0\0\0", "list.csv: column 'label' must be text, got .* in row 0, with a zero byte"),
        (b"image,label\ngone.png,1\n", "gone.png, no file at .*gone.png"),
        (b"image,label\nC:\\pictures\\a.png,1\n", "no file at"),
    ],
)
def test_an_empty_or_damaged_list_says_what_is_wrong(tmp_path, content, message):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(config(tmp_path / "list.csv", cache=None))
