"""What a person may hand over: folders, shards, lists of paths, the hub."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrkd.config import DataConfig
from mrkd.data.decode import read_image
from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.data.sources.splits import sample
from mrkd.errors import UserError


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 8), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(shade))


def config(source: object, **options: object) -> DataConfig:
    return DataConfig(source=str(source), size=8, **options)


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


def fill(root: Path, *folders: str, each: int = 5) -> Path:
    for folder in folders:
        for number in range(each):
            put(root / folder / f"{number}.png")
    return root


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


def write_parquet(path: Path, **columns: list) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def cells(*shades: int) -> list[dict]:
    return [{"bytes": png(shade), "path": None} for shade in shades]


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


def shard(path: Path, *members: tuple[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_webdataset_shards_are_read_in_place(tmp_path):
    shard(tmp_path / "train-0.tar", ("a/1.png", png(1)), ("a/1.cls", b"0\n"), ("a/2.PNG", png(2)), ("a/2.cls", b"1"))
    shard(tmp_path / "train-1.tar", ("3.cls", b"1"), ("3.bmp", png(3)), ("._3.png", b"shadow"))
    shard(tmp_path / "val-0.tar", ("4.jpg", png(4)), ("4.cls", b"0"))
    splits = load(config(tmp_path))
    assert splits.train.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert splits.train.labels.tolist() == [0, 1, 1]
    assert splits.test.images[:, 0, 0, 0].tolist() == [4]
    assert splits.train.names == ("train-0.tar/a/1.png", "train-0.tar/a/2.PNG", "train-1.tar/3.bmp")
    listing = list_splits(config(tmp_path)).train
    assert pickle.loads(pickle.dumps(listing)).take([2]).cells[0] == png(3)


def test_labels_of_shards_may_be_names_or_lie_in_json(tmp_path):
    members = [("1.png", png(1)), ("1.json", json.dumps({"kind": "dog"}).encode())]
    members += [("2.png", png(2)), ("2.json", json.dumps({"kind": "cat"}).encode())]
    shard(tmp_path / "x.tar", *members)
    assert list_splits(config(tmp_path / "x.tar", label_column="kind")).train.class_names == ("cat", "dog")
    assert list_splits(config(tmp_path / "x.tar")).train.labels is None
    shard(tmp_path / "y.tar", *members[:3])
    with pytest.raises(UserError, match=r"1 of 2 samples have a label, 2.png has none"):
        list_splits(config(tmp_path / "y.tar", label_column="kind"))


def test_a_compressed_or_damaged_shard_is_refused_in_one_line(tmp_path):
    shard(tmp_path / "x.tar", ("1.png", png(1)), mode="w:gz")
    with pytest.raises(UserError, match=r"x.tar as an uncompressed tar"):
        list_splits(config(tmp_path))
    shard(tmp_path / "x.tar", ("1.png", bytes(5000)), ("2.png", png(1)))
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"x.tar"):
        list_splits(config(tmp_path))


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


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.png"])
def test_other_files_are_refused_with_what_to_do(tmp_path, name):
    put(tmp_path / name)
    with pytest.raises(UserError, match="must be parquet, tar, csv or tsv"):
        list_splits(config(tmp_path / name))


def test_limits_are_applied_before_anything_is_decoded(tmp_path):
    for number in range(10):
        put(tmp_path / f"{number}.png")
    listing = list_splits(config(tmp_path, train_images=3)).train
    assert len(listing.cells) == len(listing.names) == 3
    assert [path.name for path in listing.cells] == listing.names


def test_a_sample_has_every_class_in_proportion_and_exactly_so_many_images():
    labels = [0] * 700 + [1] * 200 + [2] * 100
    rows = sample(labels, 33)
    counts = np.bincount(np.array(labels)[rows.numpy()], minlength=3)
    assert counts.tolist() == [23, 7, 3]
    assert rows.tolist() == sorted(set(rows.tolist())) == sample(labels, 33).tolist()
    assert sample(labels, 1000).tolist() == list(range(1000))


def test_a_sample_of_very_many_classes_has_neighbours_for_its_images():
    labels = np.repeat(np.arange(1000), 50)
    counts = np.bincount(labels[sample(labels.tolist(), 400).numpy()], minlength=1000)
    assert counts.sum() == 400
    assert set(counts.tolist()) == {0, 10}
    pairs = np.repeat(np.arange(1000), 2)
    assert set(np.bincount(pairs[sample(pairs.tolist(), 400).numpy()], minlength=1000).tolist()) == {0, 2}


def test_classes_too_small_to_be_split_make_no_test_split(tmp_path):
    for name in "abc":
        for number in range(2):
            put(tmp_path / name / f"{number}.png")
    listings = list_splits(config(tmp_path))
    assert len(listings.train) == 6
    assert listings.test is None
    with pytest.raises(UserError, match="too few images of each class"):
        load(config(tmp_path)).require_test()


def test_digits_are_listed_like_everything_else():
    listing = list_splits(DataConfig(size=32)).train
    assert isinstance(listing.cells[0], np.ndarray)
    assert read_image(listing.cells[0], 16, 10_000).shape == (16, 16, 3)
