import dataclasses
import json

import pytest
import torch

import mrkd
from mrkd.config import Config, DataConfig
from mrkd.data.dataset import training_batches
from mrkd.data.load import load_train
from mrkd.data.resident import ResidentDataset
from mrkd.data.sampler import BatchSampler
from mrkd.data.sources.find import list_splits
from mrkd.data.streamed import StreamedDataset
from mrkd.errors import UserError
from tests.helpers.photographs import make_two_classes

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """40 noisy JPEGs of two classes, some of them larger than the size that is asked for."""
    return make_two_classes(tmp_path / "images", 40, ".jpg", lambda number: 40 if number % 3 else 90)


def config_of(folder, mode: str, **data: object) -> Config:
    return Config(data=DataConfig(source=str(folder), size=32, mode=mode, cache=None, **data))


def opened(config: Config):
    return load_train(config.data, CPU, processes=1)


def batches(dataset, first: int = 0, local: slice = slice(0, 8)):
    sampler = BatchSampler(images=len(dataset), batch=8, seed=3)
    return training_batches(dataset, sampler, start=first, stop=8, local=local)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_gives_the_batches_that_images_in_memory_give(folder, workers):
    resident = opened(config_of(folder, "resident"))
    stream = opened(config_of(folder, "stream", workers=workers))
    assert isinstance(resident, ResidentDataset)
    assert isinstance(stream, StreamedDataset)
    assert len(stream) == len(resident) == 32
    for (expected_step, expected), (step, batch) in zip(batches(resident), batches(stream), strict=True):
        assert step == expected_step
        assert torch.equal(batch.indices, expected.indices)
        assert torch.equal(batch.images, expected.images)
    assert stream.waited_seconds > 0


def test_a_stream_goes_on_in_the_middle_of_an_epoch_and_gives_a_device_its_share(folder):
    stream = opened(config_of(folder, "stream"))
    whole = list(batches(stream))
    rest = list(batches(stream, first=5, local=slice(4, 8)))
    assert [step for step, _ in rest] == [5, 6, 7]
    for (_, expected), (_, batch) in zip(whole[5:], rest, strict=True):
        assert torch.equal(batch.indices, expected.indices)
        assert torch.equal(batch.images, expected.images[4:])


def test_the_numbers_that_draw_views_are_left_alone(folder):
    stream = opened(config_of(folder, "stream"))
    torch.manual_seed(5)
    list(batches(stream))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


def test_a_set_is_streamed_when_it_does_not_fit_the_memory(folder):
    assert isinstance(opened(config_of(folder, "auto")), ResidentDataset)
    assert isinstance(opened(config_of(folder, "auto", max_resident_gib=1e-5)), StreamedDataset)


def test_a_broken_image_is_named_and_another_of_its_batch_stands_in(folder):
    broken = sorted(folder.rglob("*.jpg"))[3]
    broken.write_bytes(b"not an image")
    data = config_of(folder, "stream", workers=1).data
    listing = list_splits(data).train
    rows = torch.arange(len(listing))
    bad = listing.names.index(str(broken.relative_to(folder)))

    def stream(fraction: float) -> StreamedDataset:
        return StreamedDataset(listing, dataclasses.replace(data, max_broken_fraction=fraction), device=CPU)

    kept = stream(0.1)
    (batch,) = kept.batches([rows])
    assert kept.broken == [listing.names[bad]]
    assert torch.equal(batch.images[bad], batch.images[(bad + 1) % len(rows)])
    with pytest.raises(UserError, match="cannot be read so far"):
        list(stream(0.0).batches([rows]))


def test_digits_are_not_streamed():
    with pytest.raises(UserError, match="digits are in memory"):
        opened(Config(data=DataConfig(mode="stream")))


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
