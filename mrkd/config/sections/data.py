"""Section `data`: the images, their size, decoding and cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_fraction, check_least, require
from mrkd.config.setting import setting
from mrkd.config.source import absolute_source


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images: source, number, size, decoding and cache."""

    source: str = setting("digits", resumable=True, part_of_measurement=True)
    """`digits` or `shapes` (embedded); a folder of images, of parquet files or of WebDataset shards (.tar); one such
    file; a CSV or TSV of paths; or `hub:owner/name` on the Hugging Face hub, with `:configuration` if it has several.
    A path becomes absolute. It may be another one when a run is resumed, if the images are the same."""
    size: int = setting(32, part_of_measurement=True)
    """Side of the square images that enter the network, in pixels."""
    train_images: int | None = setting(None, part_of_measurement=True)
    """Maximum number of training images (a fixed random choice); null uses all."""
    test_images: int | None = setting(None, part_of_measurement=True)
    """Maximum number of test images; null uses all."""
    holdout: Literal["test", "validation"] = setting("test", part_of_measurement=True)
    """Images for evaluation: `test`, the test split, or `validation`, a fifth set aside from training (for tuning)."""
    image_column: str | None = setting(None, part_of_measurement=True)
    """Column of the images, or of their paths; null looks for usual names such as `image` or `path`."""
    label_column: str | None = setting(None, part_of_measurement=True)
    """Column of the labels, numbers or names; null looks for usual names such as `label` or `class`."""
    use_labels: bool = setting(True, part_of_measurement=True)
    """Whether to use labels; set it to false if folders are not classes, for example if they are dates."""
    outside_paths: bool = False
    """Whether a CSV may contain paths outside its own folder."""
    cache: str | None = setting("auto", resumable=True)
    """Folder in which decoded images are cached, so that the next run starts at once; null disables the cache.
    `auto` is $MRKD_CACHE, or mrkd in the user's cache folder."""
    cache_gib: float = setting(20.0, resumable=True)
    """Maximum size of the cache in GiB; the least recently used images are removed first."""
    max_broken_fraction: float = 0.05
    """Maximum fraction of broken images, which are skipped and counted; with more the data is refused."""
    mode: Literal["auto", "resident", "stream"] = "auto"
    """Decode images once into memory, or stream them: worker processes decode them whenever needed. `auto` streams a
    split that needs more than `max_resident_gib`."""
    max_resident_gib: float = 8.0
    """Maximum size, in GiB, of a split of decoded images in memory."""
    workers: int | None = setting(None, resumable=True)
    """Number of decoding processes of a stream, for each device; null uses all cores."""
    max_pixels: int = 50_000_000
    """Maximum number of pixels (width times height) of an image; a larger one counts as broken and is not decoded."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", absolute_source(self.source))
        require(self.size >= 8, f"data.size must be at least 8 pixels, got {self.size}")
        require(self.max_pixels >= 1, f"data.max_pixels must be at least 1, got {self.max_pixels}")
        require(self.workers is None or self.workers >= 1, f"data.workers must be at least 1, got {self.workers}")
        require(self.cache_gib > 0, f"data.cache_gib must be positive, got {self.cache_gib}")
        check_least(0, "data", self, "max_resident_gib")
        check_fraction("data.max_broken_fraction", self.max_broken_fraction)
        for name in ("train_images", "test_images"):
            value = getattr(self, name)
            require(value is None or value >= 2, f"data.{name} must be at least 2, got {value}")
