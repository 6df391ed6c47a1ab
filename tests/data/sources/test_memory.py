import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from mrkd.config import DataConfig
from mrkd.config.keys import with_present_names
from mrkd.config.source import source_name
from mrkd.data.load import load
from mrkd.data.sources.memory import hold_in_memory, name_source
from mrkd.errors import UserError

SIZE = 8
CONFIG = DataConfig(size=SIZE)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


class Pairs(Dataset):
    """A data set as torchvision's are."""

    classes = ("cat", "dog")

    def __len__(self) -> int:
        return 20

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return Image.fromarray(noise(20, SIZE, SIZE, 3)[row]), row % 2


def test_every_form_of_an_image_gives_the_same_pixels(tmp_path):
    [pixels] = hold_in_memory(array := noise(12, 10, 3), CONFIG).pixels
    path = tmp_path / "x.png"
    Image.fromarray(array).save(path)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for form in (array[None], Image.fromarray(array), path, str(path), [path], (array,), tensor, tensor[None]):
        np.testing.assert_array_equal(hold_in_memory(form, CONFIG).pixels, pixels[None])
    for form in (array / 255.0, tensor.float() / 255, TensorDataset(tensor[None].double() / 255)):
        np.testing.assert_array_equal(hold_in_memory(form, CONFIG).pixels, pixels[None])


def test_grey_images_become_rgb():
    grey = noise(SIZE, SIZE)
    for form in (grey, grey[..., None], torch.from_numpy(grey)[None], Image.fromarray(grey)):
        np.testing.assert_array_equal(hold_in_memory(form, CONFIG).pixels[0], np.repeat(grey[..., None], 3, axis=2))


def test_a_data_set_brings_its_labels_and_the_names_of_its_classes():
    held = hold_in_memory(Pairs(), CONFIG)
    splits = load(DataConfig(source=held.source, size=SIZE))
    assert splits.train.class_names == ("cat", "dog")
    assert (len(splits.train), len(splits.test)) == (16, 4)
    rows = np.argsort([*splits.train.source_rows, *splits.test.source_rows])
    images = torch.cat([splits.train.images, splits.test.images])[rows]
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1), held.pixels)
    assert torch.cat([splits.train.labels, splits.test.labels])[rows].tolist() == [0, 1] * 10


def test_labels_may_be_tensors_names_or_missing():
    images = torch.from_numpy(noise(3, 3, SIZE, SIZE))
    assert hold_in_memory(TensorDataset(images, torch.arange(3)), CONFIG).labels == (0, 1, 2)
    assert hold_in_memory([(images[0], "cat"), images[1], (images[2], None)], CONFIG).labels == ("cat", None, None)
    assert hold_in_memory(images, CONFIG).labels is None


def test_the_name_of_a_source_is_made_of_its_content():
    images = noise(4, SIZE, SIZE, 3)
    held = hold_in_memory(images, CONFIG)
    assert hold_in_memory(images.copy(), CONFIG) is held
    assert hold_in_memory(list(images), CONFIG).source == held.source
    assert hold_in_memory(images[::-1], CONFIG).source != held.source
    assert hold_in_memory([(image, 0) for image in images], CONFIG).source != held.source
    assert DataConfig(source=held.source).source == held.source == source_name(held.source)
    assert with_present_names({"data": {"source": held.source}})["data"]["source"] == held.source


def test_images_that_nobody_holds_any_more_are_asked_for_again():
    held = hold_in_memory(noise(4, SIZE, SIZE, 3), CONFIG)
    config = DataConfig(source=held.source, size=SIZE)
    assert len(load(config).train) == 4
    with pytest.raises(UserError, match=r"holds images of 8 px, got data\.size 16"):
        load(DataConfig(source=held.source, size=16))
    del held
    gc.collect()
    with pytest.raises(UserError, match="only that process has them: give the same images again"):
        load(config)


def test_text_and_paths_name_a_source_but_for_one_image_file(tmp_path):
    Image.fromarray(noise(9, 9, 3)).save(tmp_path / "x.PNG")
    assert name_source("digits", CONFIG) == ("digits", None)
    assert name_source(tmp_path, CONFIG) == (str(tmp_path), None)
    assert name_source("gone.png", CONFIG) == ("gone.png", None)
    source, held = name_source(tmp_path / "x.PNG", CONFIG)
    assert held.source == source
    assert held.names == (str(tmp_path / "x.PNG"),)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Pairs())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "images must be paths, .* got int"),
        ([], "expected at least one image, got none"),
        (noise(0, 8, 8, 3), "expected at least one image"),
        (Stream(), "got a stream: collect its images in a list"),
        ([noise(8, 8, 3), 3], "image 1 must be a path, a PIL image, an array or a tensor, got int"),
        (noise(3, 8, 8), r"image 0 must be an array of shape \(H, W, 3\), got \(3, 8, 8\)"),
        (torch.zeros(8, 8, 3), r"image 0 must be a tensor of shape \(3, H, W\), got \(8, 8, 3\)"),
        (noise(8, 8, 3).astype(np.int64), r"image 0 must be uint8, or floating-point in \[0, 1\], got int64"),
        (np.full((8, 8, 3), 2.0), r"numbers in \[0, 1\], or uint8, got 2 to 2: leave out normalisation"),
        (np.full((8, 8, 3), np.nan), "got nan to nan"),
        ([(noise(8, 8, 3), noise(8, 8, 3))], "a label must be a whole number or a name, got ndarray"),
        ([(noise(8, 8, 3), 0, 1)], r"an item must be an image or \(image, label\), got 3 parts"),
        (["gone.png"], "gone.png cannot be read as an image"),
        ([Path(__file__)], "test_memory.py cannot be read as an image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message) as raised:
        hold_in_memory(given, CONFIG)
    assert "\n" not in str(raised.value)


def test_more_images_than_fit_the_memory_are_refused_before_any_is_read():
    class Many(Pairs):
        def __len__(self) -> int:
            return 10**9

    with pytest.raises(UserError, match=r"1000000000 images of 8 px need 178.8 GiB .* path of their folder"):
        hold_in_memory(Many(), CONFIG)
