"""Which images are trained on and which are scored, and fixed samples of them."""

import numpy as np
import pytest

from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.data.sources.splits import sample
from mrkd.errors import UserError
from tests.helpers.sources import cells, config, fill, labelled_parquet, png, put, shard, write_csv, write_parquet


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


def test_a_sample_of_one_large_and_many_small_classes_has_exactly_so_many_images():
    labels = [0] * 1000 + list(range(1, 101))
    counts = np.bincount(np.array(labels)[sample(labels, 500).numpy()], minlength=101)
    assert counts.tolist() == [400] + [1] * 100
    assert len(sample(labels, 1050)) == 1050


def test_classes_too_small_to_be_split_make_no_test_split(tmp_path):
    for name in "abc":
        for number in range(2):
            put(tmp_path / name / f"{number}.png")
    listings = list_splits(config(tmp_path))
    assert len(listings.train) == 6
    assert listings.test is None
    with pytest.raises(UserError, match="too few images of each class"):
        load(config(tmp_path)).require_test()


def test_a_labelled_validation_split_is_scored_where_the_test_images_are_unlabelled(tmp_path):
    fill(tmp_path, "train/a", "train/b", "val/a", "val/b", "test", each=3)
    listings = list_splits(config(tmp_path))
    assert listings.train.class_names == listings.test.class_names == ("a", "b")
    assert (listings.test.labels, listings.unscorable) == ([0, 0, 0, 1, 1, 1], "")
    assert listings.notes == ("test: all 3 images are unlabelled, not scored: they lie in no class folders",)
    assert {name: split.use for name, split in listings.splits.items()} == {
        "test": "left alone",
        "train": "trained on",
        "validation": "scored",
    }


def test_hub_files_whose_test_labels_are_minus_one_are_scored_on_validation(tmp_path):
    labelled_parquet(tmp_path / "data/train-0.parquet", [0, 1] * 4)
    labelled_parquet(tmp_path / "data/validation-0.parquet", [0, 1])
    labelled_parquet(tmp_path / "data/test-0.parquet", [-1] * 3)
    listings = list_splits(config(tmp_path))
    assert (len(listings.train), listings.test.labels) == (8, [0, 1])
    assert listings.notes == ("test: all 3 images are unlabelled, not scored: the label is -1 in 3",)


def test_a_data_set_of_the_hub_whose_test_labels_are_minus_one_is_scored_on_validation(monkeypatch):
    import datasets

    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))

    def table(*labels: int) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"image": cells(*range(len(labels))), "label": labels}, features=features)

    splits = datasets.DatasetDict(train=table(0, 1, 1), validation=table(1, 0), test=table(-1, -1))
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: splits)
    listings = list_splits(config("somebody/things"))
    assert (listings.test.labels, listings.test.class_names) == ([1, 0], ("a", "b"))
    assert listings.notes == ("test: all 2 images are unlabelled, not scored: the label is -1 in 2",)


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (
            ("val/images", "test/images"),
            "they all lie in the folder 'images', which is no class of the training images",
        ),
        (("test/unknown",), "they all lie in the folder 'unknown', which is no class of the training images"),
        (("test/c", "test/d"), "no training image has a class of theirs"),
    ],
)
def test_a_test_split_without_a_class_of_the_training_images_is_unlabelled_and_never_scored(tmp_path, folders, reason):
    fill(tmp_path, "train/n01/images", "train/n02/images", *folders)
    splits = load(config(tmp_path))
    assert splits.train.class_names == ("n01", "n02")
    assert splits.test.labels is None
    assert reason in splits.unscorable
    with pytest.raises(UserError, match=r"needs labels, but the test images are unlabelled: .*data.holdout validation"):
        splits.labelled()
    aside = list_splits(config(tmp_path, holdout="validation"))
    assert (len(aside.train), len(aside.test), aside.unscorable) == (8, 2, "")


def test_a_class_that_only_scored_images_have_is_told(tmp_path):
    fill(tmp_path, "train/a", "train/b", "test/b", "test/c", each=1)
    assert list_splits(config(tmp_path)).notes == ("no training image has these classes, which are scored: c",)


def test_unlabelled_images_are_trained_on_and_none_is_set_aside_for_scoring(tmp_path):
    listings = list_splits(config(labelled_parquet(tmp_path / "x.parquet", [0, 1, None] * 10)))
    assert listings.train.labels.count(-1) == 10
    assert sorted(listings.test.labels) == [0, 0, 1, 1]
    assert listings.notes == ("train: 10 of 30 images are unlabelled, trained on, not scored: the label is null in 10",)
    train, test = load(config(tmp_path / "x.parquet")).labelled()
    assert (len(train), len(test)) == (16, 4)


def test_splits_without_a_training_one_are_told(tmp_path):
    fill(tmp_path, "test/a", "test/b", "val/a", "val/b")
    (note,) = list_splits(config(tmp_path)).notes
    assert note.startswith("there is no training split: the test images are trained on, except 2 set aside, the valid")


def test_numbers_that_are_no_class_indices_are_told(tmp_path):
    listings = list_splits(config(labelled_parquet(tmp_path / "x.parquet", [2019, 2020, 2021] * 2)))
    assert listings.notes == ("labels are numbers below 2,022, of which 3 have images: all 2,022 are classes",)


def test_unlabelled_training_images_beside_labelled_test_images_cannot_be_scored(tmp_path):
    fill(tmp_path, "train", "test/a", "test/b")
    assert "the training images are unlabelled" in list_splits(config(tmp_path)).unscorable


def labelled_or_not(folder, kind):
    """Two labelled training images, two test images, three unlabelled ones, as sources of one kind have them."""
    if kind == "folder":
        fill(folder, "train/a", "train/b", "test/a", "test/b", each=1)
        return fill(folder, "unlabeled", each=3)
    if kind == "nested":  # a folder around the images, for libraries that want one
        fill(folder, "train/a", "train/b", "test/a", "test/b", each=1)
        return fill(folder, "unlabelled/x", "unlabelled/y", "unlabelled/z", each=1)
    if kind == "csv":
        rows = [",a,train", ",b,train", ",a,test", ",b,test", *[",,unlabeled"] * 3]
        return write_csv(folder, "image,label,split", rows)
    for split, labels in {"train": ["a", "b"], "test": ["a", "b"], "unlabeled": [None] * 3}.items():
        if kind == "parquet":
            write_parquet(folder / f"{split}-0.parquet", image=cells(*range(len(labels))), label=labels)
        else:
            images = [(f"{number}.png", png(number)) for number in range(len(labels))]
            named = [(f"{number}.cls", label.encode()) for number, label in enumerate(labels) if label]
            shard(folder / f"{split}-0.tar", *images, *named)
    return folder


@pytest.mark.parametrize("kind", ["folder", "nested", "csv", "parquet", "tar"])
def test_a_split_of_unlabelled_images_is_trained_on_in_every_source(tmp_path, kind):
    listings = list_splits(config(labelled_or_not(tmp_path, kind)))
    assert listings.train.class_names == ("a", "b")
    assert sorted(listings.train.labels) == [-1, -1, -1, 0, 1]
    assert listings.test.labels == [0, 1]
    assert any("3 of 5 images are unlabelled, trained on, not scored" in note for note in listings.notes)


def test_unlabelled_images_may_be_all_there_is_to_train_on(tmp_path):
    fill(tmp_path, "unlabeled", "test/a", "test/b", each=2)
    listings = list_splits(config(tmp_path))
    assert (len(listings.train), listings.train.labels, len(listings.test)) == (2, None, 4)


def test_a_folder_called_unlabeled_among_classes_is_no_class(tmp_path):
    listings = list_splits(config(fill(tmp_path, "cat", "dog", "unlabeled")))
    assert listings.train.class_names == ("cat", "dog")
    assert "the label is 'unlabeled' in 5" in listings.notes[0]


def hub_of(monkeypatch, **labels):
    """A data set of the hub with these splits: the numbers of their images, cat for 0 and dog for 1."""
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "source": datasets.Value("string"),
        }
    )
    splits = {
        split: datasets.Dataset.from_dict(
            {"image": cells(*range(len(numbers))), "label": numbers, "source": ["x"] * len(numbers)}, features=kinds
        )
        for split, numbers in labels.items()
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: splits)


def test_every_split_of_the_hub_is_read_and_a_line_says_which_are_read_as_one(monkeypatch):
    hub_of(monkeypatch, train=[0, 1], test=[1, 0], unlabeled=[-1, -1, -1], extra=[1])
    listings = list_splits(config("hub:some/one"))
    assert listings.train.labels == [0, 1, -1, -1, -1, 1]
    assert listings.test.labels == [1, 0]
    assert listings.notes[:2] == (
        "some/one, train: of its columns 'image', 'label' are read, not source",
        "train: read as one: extra, train, unlabeled",
    )
    assert listings.train.names[2] == "unlabeled row 0"
    assert load(config("hub:some/one", cache=None)).train.images.shape[0] == 6


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"], None),
        (["train-00000-of-00001-3f0a", "test-00000-of-00001-77"], None),
        (["0", "1"], None),
        (["train-00000-of-00003", "train-00002-of-00003"], "train: 1 of the 3 files train-*-of-00003 are missing"),
        (["full/train-0", "mini/train-0"], "train: read as one: full/train, mini/train"),
        (["train", "extra"], "train: read as one: extra, train"),
        (["test_a", "test_b", "train"], "test: read as one: test_a, test_b"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_files_of_several_names_in_one_split_and_missing_shards_are_told(tmp_path, kind, names, note):
    for name in names:
        if kind == "parquet":
            labelled_parquet(tmp_path / f"{name}.parquet", [0, 1])
        else:
            shard(
                tmp_path / f"{name}.tar",
                *((f"{number}.{end}", part) for number in (0, 1) for end, part in both(number)),
            )
    notes = [note for note in list_splits(config(tmp_path)).notes if "read as one" in note or "missing" in note]
    assert notes == ([] if note is None else [note])


def both(number):
    """An image and its label, by their endings."""
    return ("png", png(number)), ("cls", str(number).encode())
