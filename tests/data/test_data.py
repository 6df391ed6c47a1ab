import numpy as np
import pytest
import torch
from PIL import Image

from mrkd.config import DataConfig, MaskConfig, ViewsConfig
from mrkd.data.augment.masking import draw_masks
from mrkd.data.augment.views import ViewMaker
from mrkd.data.load import load
from mrkd.errors import UserError


def save_images(folder, count, colour=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((20, 30, 3), colour or number * 10 % 255, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_digits_have_a_fixed_stratified_split():
    first, second = load(DataConfig()), load(DataConfig())
    assert first.train.images.shape[1:] == (3, 32, 32)
    assert len(first.train) + len(first.test) == 1797
    assert torch.equal(first.test.images, second.test.images)
    counts = torch.bincount(first.test.labels)
    assert counts.max() - counts.min() <= 3


def test_the_validation_holdout_never_touches_the_test_images():
    full, held = load(DataConfig()), load(DataConfig(holdout="validation"))
    test = {image.numpy().tobytes() for image in full.test.images}
    assert not test & {image.numpy().tobytes() for image in held.test.images} or len(test) < len(full.test)
    assert len(held.train) + len(held.test) == len(full.train)


def test_class_folders_become_labels(tmp_path):
    save_images(tmp_path / "cats", 10, 50)
    save_images(tmp_path / "dogs", 10, 200)
    splits = load(DataConfig(source=str(tmp_path)))
    assert splits.train.class_names == ("cats", "dogs")
    assert len(splits.train) == 16
    assert splits.train.images[splits.train.labels == 0].float().mean() == pytest.approx(50)


def test_a_flat_folder_is_unlabelled(tmp_path):
    save_images(tmp_path, 6)
    splits = load(DataConfig(source=str(tmp_path)))
    assert splits.train.labels is None
    assert splits.test is None
    assert len(splits.train) == 6


def test_broken_images_are_skipped_counted_and_named(tmp_path):
    save_images(tmp_path, 9)
    (tmp_path / "bad.png").write_bytes(b"not an image")
    splits = load(DataConfig(source=str(tmp_path), max_broken_fraction=0.2))
    assert len(splits.train) == 9
    assert splits.broken == ("bad.png",)
    with pytest.raises(UserError, match=r"1 of 10 images cannot be read \(first: bad.png\)"):
        load(DataConfig(source=str(tmp_path), max_broken_fraction=0.05))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: (path / "readme.txt").write_text("x")])
def test_an_empty_folder_is_refused(tmp_path, make):
    make(tmp_path)
    with pytest.raises(UserError, match="no readable images"):
        load(DataConfig(source=str(tmp_path)))


def test_a_missing_path_is_refused():
    with pytest.raises(UserError, match="must be an existing path, and nothing is there"):
        load(DataConfig(source="/no/such/folder"))


def test_cifar10_parquet_has_its_classes_and_split(cifar10):
    splits = load(DataConfig(source=str(cifar10 / "test.parquet"), train_images=50, test_images=20))
    assert len(splits.train) == 50
    assert splits.train.class_names[:3] == ("airplane", "automobile", "bird")


@pytest.mark.parametrize("kind", ["random", "block"])
def test_masks_hide_a_different_fraction_of_each_image(kind):
    config = MaskConfig(kind=kind, ratio=(0.25, 0.5), probability=1.0)
    masks = draw_masks((2, 50), (4, 4), config, torch.Generator().manual_seed(0))
    counts = masks.sum(dim=-1)
    assert masks.shape == (2, 50, 16)
    assert counts.min() >= 4
    assert counts.max() <= 8
    assert len(counts.unique()) > 2


def test_an_unmasked_view_hides_nothing_and_the_probability_is_kept():
    config = MaskConfig(ratio=(0.25, 0.5), probability=0.5)
    masked = draw_masks((2, 2000), (4, 4), config, torch.Generator().manual_seed(0)).any(dim=-1).float().mean()
    assert masked.item() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("kind", ["random", "block"])
def test_evenly_dealt_masks_hide_the_same_number_of_patches_in_every_step(kind):
    config = MaskConfig(kind=kind, ratio=(0.2, 0.5), probability=0.4, even=True)
    generator = torch.Generator().manual_seed(0)
    counts = [draw_masks((2, 50), (4, 4), config, generator).sum(dim=-1).flatten() for _ in range(5)]
    assert len({int(count.sum()) for count in counts}) == 1
    assert all(int((count > 0).sum()) == 40 for count in counts)
    assert not torch.equal(counts[0], counts[1])
    assert counts[0][counts[0] > 0].float().mean().item() == pytest.approx(0.35 * 16, abs=0.3)
    assert len(counts[0].unique()) > 4


def test_each_image_and_view_has_a_crop_of_its_own():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8).expand(4, -1, -1, -1)
    views, local = ViewMaker(ViewsConfig(local_views=3, local_size=16), 32)(images)
    assert views.shape == (2, 4, 3, 32, 32)
    assert local.shape == (3, 4, 3, 16, 16)
    flat = views.flatten(0, 1).flatten(1)
    assert torch.cdist(flat, flat).add(torch.eye(8) * 1e9).min() > 1.0


@pytest.mark.parametrize("size", [96, 224])
def test_blur_takes_away_detail_in_proportion_to_the_size(size):
    torch.manual_seed(0)
    noise = torch.randint(0, 256, (4, 3, size // 8, size // 8), dtype=torch.uint8)
    images = noise.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)  # detail of the same relative size
    plain = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    sharp, _ = ViewMaker(ViewsConfig(**plain), size)(images)
    soft, _ = ViewMaker(ViewsConfig(**plain, blur=1.0, blur_sigma=(2.0, 2.0)), size)(images)

    def detail(views):
        return views.diff(dim=-1).abs().max().item()

    assert soft.shape == sharp.shape
    assert soft.mean().item() == pytest.approx(sharp.mean().item(), abs=0.05)
    assert 0.1 < detail(soft) / detail(sharp) < 0.6
