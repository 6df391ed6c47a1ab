import dataclasses
import json

import pytest
import torch

import mrkd
from mrkd.config import Config, DataConfig
from mrkd.data.feed import ResidentFeed, StreamedFeed, open_feed
from mrkd.data.loader import batches_from
from mrkd.data.sources.find import list_splits
from mrkd.data.stream import Stream
from mrkd.errors import UserError
from tests.helpers.photographs import make_two_classes

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """40 noisy JPEGs of two classes, some of them larger than the size that is asked for."""
    return make_two_classes(tmp_path / "images", 40, ".jpg", lambda number: 40 if number % 3 else 90)


def config_of(folder, mode: str, **data: object) -> Config:
    return Config(data=DataConfig(source=str(folder), size=32, mode=mode, cache=None, **data))


def order(feed, first: int = 0, steps: int = 8):
    return batches_from(first, steps, len(feed), 8, seed=3)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_gives_the_batches_that_images_in_memory_give(folder, workers):
    resident = open_feed(config_of(folder, "resident"), CPU)
    stream = open_feed(config_of(folder, "stream", workers=workers), CPU)
    assert isinstance(resident, ResidentFeed)
    assert isinstance(stream, StreamedFeed)
    assert len(stream) == len(resident) == 32
    everything = slice(0, 8)
    pairs = zip(resident.batches(order(resident), everything), stream.batches(order(stream), everything), strict=True)
    for expected, batch in pairs:
        assert batch.step == expected.step
        assert torch.equal(batch.rows, expected.rows)
        assert torch.equal(batch.images, expected.images)
    assert stream.waited_seconds > 0


def test_a_stream_goes_on_in_the_middle_of_an_epoch_and_gives_a_device_its_share(folder):
    stream = open_feed(config_of(folder, "stream"), CPU)
    whole = list(stream.batches(order(stream), slice(0, 8)))
    rest = list(stream.batches(order(stream, first=5), slice(4, 8)))
    assert [batch.step for batch in rest] == [5, 6, 7]
    for expected, batch in zip(whole[5:], rest, strict=True):
        assert torch.equal(batch.rows, expected.rows)
        assert torch.equal(batch.images, expected.images[4:])


def test_the_numbers_that_draw_views_are_left_alone(folder):
    stream = open_feed(config_of(folder, "stream"), CPU)
    torch.manual_seed(5)
    list(stream.batches(order(stream), slice(0, 8)))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


def test_a_set_is_streamed_when_it_does_not_fit_the_memory(folder):
    assert isinstance(open_feed(config_of(folder, "auto"), CPU), ResidentFeed)
    assert isinstance(open_feed(config_of(folder, "auto", max_resident_gib=1e-5), CPU), StreamedFeed)


def test_a_broken_image_is_named_and_another_of_its_batch_stands_in(folder):
    broken = sorted(folder.rglob("*.jpg"))[3]
    broken.write_bytes(b"not an image")
    listing = list_splits(config_of(folder, "stream").data).train
    rows = torch.arange(len(listing))
    bad = listing.names.index(str(broken.relative_to(folder)))

    def stream(fraction: float) -> Stream:
        settings = {"size": 32, "max_pixels": 10**6, "workers": 1, "device": CPU}
        return Stream(listing, most_broken=fraction * len(listing), **settings)

    kept = stream(0.1)
    (batch,) = kept.batches([(0, rows)], slice(0, len(rows)))
    assert kept.broken == [listing.names[bad]]
    assert torch.equal(batch.images[bad], batch.images[(bad + 1) % len(rows)])
    with pytest.raises(UserError, match="cannot be read so far"):
        list(stream(0.0).batches([(0, rows)], slice(0, len(rows))))


def test_digits_are_not_streamed():
    with pytest.raises(UserError, match="digits are in memory"):
        open_feed(Config(data=DataConfig(mode="stream")), CPU)


def test_training_from_a_stream_takes_the_steps_of_training_from_memory(folder, tiny_config, tmp_path):
    losses, shown = [], []
    for mode in ("resident", "stream"):
        data = dataclasses.replace(config_of(folder, mode).data)
        train = dataclasses.replace(tiny_config.train, batch=8, epochs=2)
        run = mrkd.pretrain(dataclasses.replace(tiny_config, data=data, train=train), tmp_path / mode)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([(row["loss"], row.get("knn")) for row in rows if "loss" in row])
        shown.append("data_wait" in rows[-1])
    assert losses[0] == losses[1]
    assert shown == [False, True]
