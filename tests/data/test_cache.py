"""Decoded images kept between runs."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

import mrkd.data.resident as resident
from mrkd.config import DataConfig
from mrkd.data.load import load


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (10, 10), (number * 20, 0, 0)).save(root / name / f"{number}.png")
    (root / "a" / "broken.png").write_bytes(b"no image")
    return root


@pytest.fixture
def decodings(monkeypatch):
    """The number of images that were decoded."""
    count = []
    original = resident.read_image
    monkeypatch.setattr(resident, "read_image", lambda *rest, **named: (count.append(1), original(*rest, **named))[1])
    return count


def config(folder, **options) -> DataConfig:
    return DataConfig(source=str(folder), size=8, max_broken_fraction=0.5, **options)


def test_the_second_time_nothing_is_decoded_and_everything_is_the_same(folder, decodings):
    first = load(config(folder))
    assert len(decodings) == 21
    second = load(config(folder))
    assert len(decodings) == 21
    for one, two in ((first.train, second.train), (first.test, second.test)):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
        assert one.names == two.names
    assert first.broken == second.broken == ("a/broken.png",)


def test_a_changed_file_another_size_and_other_rows_are_decoded(folder, decodings):
    load(config(folder))
    Image.new("RGB", (10, 10), (1, 2, 3)).save(folder / "a" / "0.png")
    changed = load(config(folder))
    assert len(decodings) == 21 + 17 or len(decodings) == 21 + 4  # the split that holds the changed file
    pixels = torch.cat([changed.train.images, changed.test.images])[:, :, 0, 0].tolist()
    assert [1, 2, 3] in pixels
    before = len(decodings)
    load(config(folder, max_pixels=101))
    assert len(decodings) == before + 21


def test_no_cache_is_kept_when_none_is_wanted(folder, decodings, own_cache):
    for _ in range(2):
        load(config(folder, cache=None))
    assert len(decodings) == 42
    assert not list(own_cache.iterdir())


def test_the_folder_is_that_of_the_setting_before_that_of_the_environment(folder, own_cache, tmp_path):
    load(config(folder, cache=str(tmp_path / "own")))
    assert len(list((tmp_path / "own").iterdir())) == 2
    assert not list(own_cache.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "pickle"])
def test_a_damaged_file_is_named_and_made_anew(folder, own_cache, decodings, capsys, damage):
    whole = load(config(folder))
    for path in own_cache.iterdir():
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        kinds = {"truncated": content[:-9], "changed": content, "empty": b"", "pickle": b"\x80\x04." * 50}
        path.write_bytes(kinds[damage])
    again = load(config(folder))
    assert torch.equal(whole.train.images, again.train.images)
    assert capsys.readouterr().out.count("is damaged") == 2
    assert len(decodings) == 42
    load(config(folder))
    assert len(decodings) == 42


def test_a_cache_that_cannot_be_written_costs_a_line(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    splits = load(config(folder, cache=str(tmp_path / "file" / "cache")))
    assert len(splits.train) + len(splits.test) == 20
    assert "decoded images are not kept" in capsys.readouterr().out


def test_the_least_recently_used_go_first(folder, own_cache, decodings):
    def use(images: int, **options: object) -> int:
        """How many images are decoded for it."""
        before = len(decodings)
        load(config(folder, use_labels=False, train_images=images, **options))
        return len(decodings) - before

    assert (use(15), use(16)) == (15, 16)
    for path in own_cache.iterdir():
        os.utime(path, (1, 1))
    assert use(15) == 0  # and is now the one used last
    assert use(17, cache_gib=2.5 * max(path.stat().st_size for path in own_cache.iterdir()) / 2**30) == 17
    assert (use(17), use(15), use(16)) == (0, 0, 16)


def test_several_may_fill_the_cache_at_once(folder):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: load(config(folder)).train.images, range(8)))
    assert all(torch.equal(results[0], other) for other in results)
