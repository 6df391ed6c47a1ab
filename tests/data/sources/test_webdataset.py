"""WebDataset shards: tar files read in place."""

import io
import json
import pickle
import tarfile

import pytest

from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import config, png, shard


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
    half = list_splits(config(tmp_path / "y.tar", label_column="kind"))
    assert half.train.labels == [0, -1]
    assert "1 of 2 images are unlabelled" in half.notes[0]


def test_a_compressed_or_damaged_shard_is_refused_in_one_line(tmp_path):
    shard(tmp_path / "x.tar", ("1.png", png(1)), mode="w:gz")
    with pytest.raises(UserError, match=r"x.tar as an uncompressed tar"):
        list_splits(config(tmp_path))
    shard(tmp_path / "x.tar", ("1.png", bytes(5000)), ("2.png", png(1)))
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"x.tar"):
        list_splits(config(tmp_path))


def test_names_with_several_dots_are_images_of_their_own(tmp_path):
    images = [(f"2024.05.{day:02d}.jpg", png(day)) for day in range(30)]
    labels = [(f"2024.05.{day:02d}.cls", b"%d" % (day % 3)) for day in range(30)]
    assert len(list_splits(config(shard(tmp_path / "x.tar", *images))).train) == 30
    for members in (images + labels, labels + images):
        listings = list_splits(config(shard(tmp_path / "x.tar", *members), holdout="test"))
        named = [*zip(listings.train.names, listings.train.labels, strict=True)]
        assert len(named) == 24
        assert all(int(name.split(".")[-2]) % 3 == label for name, label in named)


def test_members_of_a_sample_may_lie_apart(tmp_path):
    images = [(f"{number}.jpg", png(number)) for number in range(10)]
    labels = [(f"{number}.cls", b"%d" % (number % 2)) for number in range(10)]
    listings = list_splits(config(shard(tmp_path / "x.tar", *images, *labels)))
    assert sorted(listings.train.labels + listings.test.labels) == [0] * 5 + [1] * 5


def test_the_image_of_a_sample_is_the_one_without_a_further_dot_and_the_others_are_told(tmp_path):
    members = [("7.mask.png", png(1)), ("7.jpg", png(2)), ("7.cls", b"0")]
    listings = list_splits(config(shard(tmp_path / "x.tar", *members)))
    assert listings.train.names == ["x.tar/7.jpg"]
    assert "x.tar: 1 further images of samples were left out" in listings.notes[0]
    masks = list_splits(config(tmp_path / "x.tar", image_column="mask.png"))
    assert (masks.train.names, masks.train.labels) == (["x.tar/7.mask.png"], [0])


@pytest.mark.parametrize("pair", [("7.jpg", "7.png"), ("7.left.png", "7.right.png")])
def test_a_sample_with_two_equal_images_is_refused_with_the_rule(tmp_path, pair):
    path = shard(tmp_path / "x.tar", *((name, png()) for name in pair), ("7.cls", b"0"))
    with pytest.raises(UserError, match=r"sample 7 has 2 images .* agree up to the first dot: set data.image_column"):
        list_splits(config(path))


def test_tar_files_without_images_are_told(tmp_path):
    shard(tmp_path / "train.tar", ("1.png", png()))
    shard(tmp_path / "test.tar")
    assert list_splits(config(tmp_path)).notes == ("1 of 2 tar files have no images: test.tar",)


def test_labels_without_an_image_and_names_that_come_twice_are_told(tmp_path):
    members = [("1.png", png(1)), ("1.png", png(2)), ("3.cls", b"0")]
    splits = load(config(shard(tmp_path / "x.tar", *members)))
    assert splits.train.images[:, 0, 0, 0].tolist() == [2]
    assert splits.notes == (
        "x.tar: 1 label members have no image: 3.cls",
        "x.tar: 1 members come twice, of which the later counts: 1.png",
    )


def test_hard_links_are_images_and_links_to_nothing_are_told(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("1.png")
        member.size = len(png(5))
        archive.addfile(member, io.BytesIO(png(5)))
        for name, kind, target in (("2.png", tarfile.LNKTYPE, "1.png"), ("3.png", tarfile.SYMTYPE, "elsewhere.png")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    splits = load(config(tmp_path / "x.tar"))
    assert splits.train.images[:, 0, 0, 0].tolist() == [5, 5]
    assert splits.notes == ("x.tar: 1 images are sparse, or links to nothing in the file, and were left out: 3.png",)


def test_a_header_damaged_in_the_middle_does_not_end_the_file_without_a_word(tmp_path):
    path = shard(tmp_path / "x.tar", *((f"{number}.png", png(number)) for number in range(5)))
    content = bytearray(path.read_bytes())
    content[2 * 1024 + 10] ^= 1  # the third header: each image needs one block
    path.write_bytes(content)
    with pytest.raises(UserError, match="a damaged header, or another tar, follows the last member at byte 2048"):
        list_splits(config(path))
