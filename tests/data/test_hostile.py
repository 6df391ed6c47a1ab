"""Image files that are broken, odd or made to do harm."""

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mrkd.config import DataConfig
from mrkd.data.decode import read_image
from mrkd.data.load import load
from mrkd.errors import UserError

SIZE = 8
PIXELS = 10_000


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(mode: str, size: tuple[int, int] = (13, 9)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(pixels[..., 0].astype(np.int32 if mode == "I" else np.float32))
    return Image.fromarray(pixels).convert(mode)


def originals() -> list[bytes]:
    frames = [noise("P"), noise("P").rotate(180)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(saved(noise(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *(saved(noise(mode), "JPEG") for mode in ("L", "RGB", "CMYK")),
        *(saved(noise(mode), "TIFF") for mode in ("RGB", "CMYK", "I;16", "I", "F")),
        saved(noise("RGB"), "TIFF", compression="tiff_lzw"),
        saved(noise("RGB"), "JPEG", exif=exif),
        saved(noise("RGB"), "JPEG", progressive=True),
        saved(noise("RGB"), "WEBP"),
        saved(noise("RGB"), "BMP"),
        saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        saved(noise("RGB", (1, 1)), "PNG"),
        saved(noise("RGB", (500, 1)), "PNG"),
    ]


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes that declares 2.5 thousand million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def fuzzed(count: int, seed: int = 0) -> list[bytes]:
    """Whole files, and the same with bytes cut off, changed, swapped between files, or made up."""
    choose, whole = random.Random(seed), [*originals(), bomb()]
    made = list(whole)
    while len(made) < count:
        content = bytearray(choose.choice(whole))
        kind = choose.choice(["truncated", "changed", "head changed", "spliced", "random", "empty"])
        if kind == "truncated":
            content = content[: choose.randrange(len(content))]
        elif kind in ("changed", "head changed"):
            for _ in range(choose.randint(1, 8)):
                content[choose.randrange(min(len(content), 64 if kind == "head changed" else len(content)))] = (
                    choose.randrange(256)
                )
        elif kind == "spliced":
            other = choose.choice(whole)
            content = content[: choose.randrange(len(content))] + other[choose.randrange(len(other)) :]
        elif kind == "random":
            content = bytearray(choose.randbytes(choose.randint(1, 300)))
        elif kind == "empty":
            content = bytearray()
        made.append(bytes(content))
    return made


def both_readers_count_and_name_every_broken_file(files: list[bytes], folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    images = folder / "images"
    images.mkdir()
    for number, content in enumerate(files):
        (images / f"{number:05d}{random.Random(number).choice(['.png', '.jpg', '.gif', '.tif'])}").write_bytes(content)
    column = pyarrow.array([{"bytes": content, "path": None} for content in files])
    pyarrow.parquet.write_table(pyarrow.table({"image": column}), folder / "all.parquet")

    broken = {row for row, content in enumerate(files) if read_image(content, SIZE, PIXELS) is None}
    assert 0.1 * len(files) < len(broken) < 0.9 * len(files)
    limits = {"size": SIZE, "max_pixels": PIXELS, "max_broken_fraction": 1.0}
    from_folder = load(DataConfig(source=str(images), **limits))
    from_parquet = load(DataConfig(source=str(folder / "all.parquet"), **limits))
    assert {int(name[:5]) for name in from_folder.broken} == broken
    assert {int(name.rpartition(" ")[2]) for name in from_parquet.broken} == broken
    for splits in (from_folder, from_parquet):
        assert splits.train.images.shape == (len(files) - len(broken), 3, SIZE, SIZE)
    assert torch.equal(from_folder.train.images, from_parquet.train.images)


def test_hundreds_of_fuzzed_files_are_read_or_counted_and_named(tmp_path):
    both_readers_count_and_name_every_broken_file(fuzzed(600), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_fuzzed_files_are_read_or_counted_and_named(tmp_path):
    both_readers_count_and_name_every_broken_file(fuzzed(10_000, seed=1), tmp_path)


def test_every_kind_of_sound_image_is_read():
    for content in originals():
        image = read_image(content, SIZE, PIXELS)
        assert image is not None
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8


def test_a_decompression_bomb_is_not_decoded():
    assert read_image(bomb(), SIZE, 50_000_000) is None
    assert read_image(saved(noise("RGB", (20, 20)), "PNG"), SIZE, 399) is None
    assert read_image(saved(noise("RGB", (20, 20)), "PNG"), SIZE, 400) is not None


def test_an_image_turned_by_exif_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    pixels[:, : SIZE // 2] = 255  # white on the left
    turned = read_image(saved(Image.fromarray(pixels), "PNG", exif=exif), SIZE, PIXELS)
    assert turned is not None
    assert turned[: SIZE // 2].min() == 255
    assert turned[SIZE // 2 :].max() == 0


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)
    image = read_image(saved(Image.fromarray(ramp), "PNG"), SIZE, PIXELS)
    assert image is not None
    assert np.abs(image[..., 0] - ramp / 257.0).max() <= 1


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "blue")]
    image = read_image(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), SIZE, PIXELS)
    assert image is not None
    assert image[0, 0].tolist() == [255, 0, 0]


def test_names_with_brackets_pipes_folders_and_dead_links_do_no_harm(tmp_path):
    for name in ("a[1].png", "b*.png", "-c.png"):
        (tmp_path / name).write_bytes(saved(noise("RGB"), "PNG"))
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere")
    splits = load(DataConfig(source=str(tmp_path), size=SIZE, max_broken_fraction=1.0))
    assert len(splits.train) == 3
    assert sorted(splits.broken) == ["dead.png", "pipe.png"]


def parquet(folder: Path, **columns: list) -> DataConfig:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "x.parquet")
    return DataConfig(source=str(folder / "x.parquet"), size=SIZE, max_broken_fraction=1.0)


def test_a_parquet_cannot_read_files_outside_its_own_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.png").write_bytes(saved(noise("RGB"), "PNG"))
    (tmp_path / "inside" / "own.png").write_bytes(saved(noise("RGB"), "PNG"))
    paths = ["../secret.png", str(tmp_path / "secret.png"), "own.png", None]
    config = parquet(tmp_path / "inside", image=[{"bytes": None, "path": path} for path in paths])
    splits = load(config)
    assert len(splits.train) == 1
    assert len(splits.broken) == 3


@pytest.mark.parametrize("label", [-2, 2**40, 0.5])
def test_labels_that_are_no_classes_are_refused_with_their_row(tmp_path, label):
    image = {"bytes": saved(noise("RGB"), "PNG"), "path": None}
    with pytest.raises(UserError, match=r"column 'label' must hold whole numbers in \[0, 1000000\), got .* in row 0"):
        load(parquet(tmp_path, image=[image], label=[label]))


def test_a_column_without_images_and_a_file_that_is_no_parquet_are_refused(tmp_path):
    with pytest.raises(UserError, match="column 'image' must hold images"):
        load(parquet(tmp_path, image=[1.5, 2.5]))
    whole = (tmp_path / "x.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-10], whole[:20] + bytes(20) + whole[40:]):
        (tmp_path / "x.parquet").write_bytes(content)
        with pytest.raises(UserError):
            load(DataConfig(source=str(tmp_path / "x.parquet"), size=SIZE))
