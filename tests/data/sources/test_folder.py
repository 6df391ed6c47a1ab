"""Folders of images: classes, splits, what is left out."""

import os

import pytest

from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import config, fill, png, put


def test_nested_folders_are_labelled_by_their_first_folder_unless_told_otherwise(tmp_path):
    for year in ("2023", "2024"):
        for month in ("01", "02"):
            for number in range(5):
                put(tmp_path / year / month / f"{number}.png")
    splits = list_splits(config(tmp_path))
    assert splits.train.class_names == ("2023", "2024")
    assert len(splits.train) == 16
    plain = list_splits(config(tmp_path, use_labels=False))
    assert (len(plain.train), plain.train.labels, plain.test) == (20, None, None)


def test_a_class_that_one_split_lacks_does_not_shift_the_others(tmp_path):
    for split, classes in {"train": "abc", "test": "ac"}.items():
        for name in classes:
            put(tmp_path / split / name / "1.png")
    splits = list_splits(config(tmp_path))
    assert splits.train.class_names == splits.test.class_names == ("a", "b", "c")
    assert splits.test.labels == [0, 2]


def test_hidden_files_are_left_out_and_links_are_followed_but_not_in_circles(tmp_path):
    for path in (".trash/1.png", "__MACOSX/1.png", "cats/._1.png", "cats/1.png"):
        put(tmp_path / "images" / path)
    put(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "images" / "dogs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "cats" / "up").symlink_to(tmp_path / "images")
    splits = list_splits(config(tmp_path / "images", use_labels=False))
    assert splits.train.names == ["cats/1.png", "dogs/2.png"]


@pytest.mark.parametrize("folder", ["test", "val", "validation"])
def test_a_validation_folder_is_scored_where_there_is_no_test_folder(tmp_path, folder):
    put(tmp_path / "train" / "1.png")
    put(tmp_path / folder / "2.png")
    assert list_splits(config(tmp_path)).test.names == ["2.png"]
    put(tmp_path / "test" / "3.png")
    assert "3.png" in list_splits(config(tmp_path)).test.names


@pytest.mark.parametrize("name", ["train", "Test", "val", "training", "test_tube", "train2017"])
def test_a_folder_named_like_a_split_beside_others_is_a_class(tmp_path, name):
    listings = list_splits(config(fill(tmp_path, "bus", "car", name)))
    assert set(listings.train.class_names) == {"bus", "car", name}
    assert (len(listings.train), len(listings.test)) == (12, 3)


def test_folders_that_only_contain_words_of_splits_are_classes(tmp_path):
    fill(tmp_path / "many", "bullet_train", "test_tube", "beaker")
    assert list_splits(config(tmp_path / "many")).train.class_names == ("beaker", "bullet_train", "test_tube")
    fill(tmp_path / "one_kind", "test_tube", "test_strip")
    assert list_splits(config(tmp_path / "one_kind")).train.class_names == ("test_strip", "test_tube")
    fill(tmp_path / "no_training", "test_tube", "valid_ticket")
    assert list_splits(config(tmp_path / "no_training")).train.class_names == ("test_tube", "valid_ticket")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_images", "test_images"),
        ("training", "testing"),
        ("Train", "TEST"),
        ("train2017", "val2017"),
        ("train", "test_stg1"),
        ("train_val", "test"),
    ],
)
def test_folders_are_splits_by_whole_words_of_their_names(tmp_path, train, test):
    fill(tmp_path, f"{train}/a", f"{train}/b", each=3)
    fill(tmp_path, f"{test}/a", f"{test}/b", each=1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "list.txt").write_text("no image")
    listings = list_splits(config(tmp_path))
    assert (len(listings.train), len(listings.test)) == (6, 2)
    assert listings.train.class_names == ("a", "b")
    assert listings.test.names == ["a/0.png", "b/0.png"]


def test_all_folders_of_a_split_are_read(tmp_path):
    fill(tmp_path, "train_1/a", "train_2/a", "train_2/b", "test/b", each=1)
    listings = list_splits(config(tmp_path))
    assert listings.train.names == ["train_1/a/0.png", "train_2/a/0.png", "train_2/b/0.png"]
    assert listings.train.labels == [0, 0, 1]
    assert listings.test.names == ["b/0.png"]


def test_a_folder_for_one_split_alone_is_that_split(tmp_path):
    fill(tmp_path, "train_images/a", "train_images/b")
    assert list_splits(config(tmp_path)).train.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("train", "test", "other"),
    [
        ("train", "test", "extra/1.png"),
        ("train", "val", "overview.png"),
        ("train_images", "test_images", "extra/deep/1.png"),
    ],
)
def test_images_beside_both_training_and_test_folders_are_refused(tmp_path, train, test, other):
    fill(tmp_path, f"{train}/a", f"{train}/b", f"{test}/a")
    put(tmp_path / other)
    with pytest.raises(UserError, match=f"'{train}' and '{test}', .* got '{other.split('/')[0]}' beside them: move"):
        list_splits(config(tmp_path))


def test_the_class_is_the_folder_at_the_level_that_varies(tmp_path):
    fill(tmp_path, "archive/train/images/cat", "archive/train/images/dog", "archive/test/dog", each=2)
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == ("cat", "dog")
    assert listings.train.names[0] == "images/cat/0.png"
    assert listings.test.labels == [1, 1]


def test_images_beside_class_folders_are_unlabelled_and_named(tmp_path):
    fill(tmp_path, "a", "b")
    put(tmp_path / "overview.png")
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == ("a", "b")
    assert listings.train.labels.count(-1) == 1
    assert listings.notes == (
        "train: 1 of 11 images are unlabelled, trained on, not scored: "
        "they lie outside the class folders (overview.png)",
    )


def test_a_few_folders_among_many_images_are_no_classes(tmp_path):
    fill(tmp_path, ".", each=8)
    fill(tmp_path, "thumbs", "drafts", each=2)
    listings = list_splits(config(tmp_path))
    assert (len(listings.train), listings.train.labels) == (12, None)
    assert "most lie in no class folders" in listings.unscorable


def test_split_folders_inside_class_folders_are_told(tmp_path):
    fill(tmp_path, "bottle/train", "bottle/test", "cable/train", "cable/test")
    note = "train: folders inside the classes (test, train) are not taken for splits"
    assert list_splits(config(tmp_path)).notes == (note,)


def test_two_spellings_of_one_name_in_unicode_are_one_class(tmp_path):
    fill(tmp_path, "caf\u00e9", "cafe\u0301", "tea")
    assert list_splits(config(tmp_path)).train.class_names == ("caf\u00e9", "tea")


def test_classes_that_differ_in_case_alone_are_told(tmp_path):
    listings = list_splits(config(fill(tmp_path, "Cat", "cat")))
    assert listings.notes == ("classes that differ in case or spaces alone are kept apart: 'Cat' and 'cat'",)


def test_a_name_that_is_no_utf_8_or_has_a_line_break_is_shown_escaped(tmp_path):
    fill(tmp_path, "tea", "two\nlines")
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for number in range(5):
        with open(folder + b"/\xff%d.png" % number, "wb") as file:
            file.write(png(number))
    splits = load(config(tmp_path))
    assert splits.train.class_names == (r"caf\xe9", "tea", r"two\nlines")
    assert all(name.isprintable() for name in splits.train.names)
    assert len(splits.train) == 12


@pytest.mark.parametrize(
    ("name", "kind"),
    [("1.jfif", "JPEG"), ("1.PPM", "PPM"), ("1.avif", "AVIF"), ("1", "JPEG"), ("2024.05.00", "PNG"), ("1.jpe", "JPEG")],
)
def test_further_endings_and_none_are_read(tmp_path, name, kind):
    put(tmp_path / name, 100, kind)
    splits = load(config(tmp_path))
    assert splits.train.names == (name,)
    assert abs(int(splits.train.images[0, 0, 0, 0]) - 100) < 4


@pytest.mark.parametrize("name", ["a/1.tga", "a/1.heic", "a/notes", "photos.zip"])
def test_files_that_are_not_read_are_counted_and_named(tmp_path, monkeypatch, name):
    monkeypatch.setattr("mrkd.data.sources.files.can_read_heif", lambda: False)
    fill(tmp_path, "a", "b")
    (tmp_path / name).write_bytes(b"something")
    (note,) = list_splits(config(tmp_path)).notes
    assert note.startswith("not read: 1 ")
    assert note.endswith(f"such as {name}")


def test_a_list_of_labels_beside_unlabelled_images_is_told(tmp_path):
    fill(tmp_path, "images")
    (tmp_path / "train.csv").write_text("id,label\n")
    (note,) = list_splits(config(tmp_path)).notes
    assert "although labels may be in them: train.csv" in note
    fill(tmp_path, "more")
    assert not any("labels may be in them" in note for note in list_splits(config(tmp_path)).notes)


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "a", "b")
    walk = os.walk

    def refused(top, **options):
        options["onerror"](PermissionError(13, "denied", str(tmp_path / "c")))
        return walk(top, **options)

    monkeypatch.setattr(os, "walk", refused)
    assert list_splits(config(tmp_path)).notes == (f"folders that cannot be opened: {tmp_path / 'c'}",)


def test_folders_inside_the_classes_are_told(tmp_path):
    fill(tmp_path, "birds/jay", "birds/owl", "cats/lion")
    (note,) = list_splits(config(tmp_path)).notes
    assert note.startswith("train: folders inside the classes, such as birds/jay, are not taken for classes: name")


@pytest.mark.parametrize("inside", ["images", "more/images"])
def test_one_folder_inside_every_class_is_not_worth_a_word(tmp_path, inside):
    assert list_splits(config(fill(tmp_path, f"a/{inside}", f"b/{inside}"))).notes == ()


def test_a_folder_of_images_beside_one_of_masks_is_told(tmp_path):
    (note,) = list_splits(config(fill(tmp_path, "images", "annotations/trimaps"))).notes
    assert note == (
        "train: the folders annotations, images are taken for classes: name 'images' itself as the source if the "
        "others hold masks or the like"
    )


def test_empty_folders_are_told(tmp_path):
    fill(tmp_path, "train/a", "train/b")
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "train" / "d").mkdir()
    (tmp_path / "train" / "d" / ".hidden").write_text("nothing")
    assert list_splits(config(tmp_path)).notes == ("2 folders are empty, and no class: train/c, train/d",)
