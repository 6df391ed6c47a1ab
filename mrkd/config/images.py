"""Settings of the images, their views and their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_fraction, check_least, check_span, require
from mrkd.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, how many, at which size."""

    source: str = setting("digits", part_of_measurement=True)
    """`digits` or `shapes` (embedded); a folder of images, of parquet files or of WebDataset shards (.tar); one such
    file; a CSV or TSV of paths; or `owner/name` on the Hugging Face hub (`hf:owner/name:configuration` in full)."""
    size: int = setting(32, part_of_measurement=True)
    """Side of the square images the network sees, in pixels."""
    train_images: int | None = setting(None, part_of_measurement=True)
    """Use at most this many training images (a fixed random choice); all of them when null."""
    test_images: int | None = setting(None, part_of_measurement=True)
    """Use at most this many test images; all of them when null."""
    holdout: Literal["test", "validation"] = setting("test", part_of_measurement=True)
    """What evaluations score: the test split, or a fifth set aside from the training images (for every choice)."""
    image_column: str | None = setting(None, part_of_measurement=True)
    """Column of the images, or of their paths; usual names such as `image` or `path` are found when null."""
    label_column: str | None = setting(None, part_of_measurement=True)
    """Column of the labels, numbers or names; usual names such as `label` or `class` are found when null."""
    use_labels: bool = setting(True, part_of_measurement=True)
    """Whether to look for labels at all; folders by date, for example, are no classes."""
    outside_paths: bool = False
    """Whether a CSV may name files outside its own folder."""
    cache: str | None = setting("auto", resumable=True)
    """Folder for decoded images, so that the next run starts at once; null keeps none.
    `auto` is $MRKD_CACHE, or mrkd in the user's cache folder."""
    cache_gib: float = setting(20.0, resumable=True)
    """The least recently used decoded images are removed from the cache above this many GiB."""
    max_broken_fraction: float = 0.05
    """Broken images are skipped and counted; above this fraction the data is refused."""
    mode: Literal["auto", "resident", "stream"] = "auto"
    """Images are decoded once into memory, or by worker processes whenever they are wanted; `auto` streams a split that
    needs more than `max_resident_gib`."""
    max_resident_gib: float = 8.0
    """The most GiB of a split's decoded images in memory."""
    workers: int | None = setting(None, resumable=True)
    """Processes that decode for a stream, for each device; null takes the cores there are."""
    max_pixels: int = 50_000_000
    """An image of more pixels (width times height) counts as broken and is not decoded."""

    def __post_init__(self) -> None:
        require(self.size >= 8, f"data.size must be at least 8 pixels, got {self.size}")
        require(self.max_pixels >= 1, f"data.max_pixels must be at least 1, got {self.max_pixels}")
        require(self.workers is None or self.workers >= 1, f"data.workers must be at least 1, got {self.workers}")
        require(self.cache_gib > 0, f"data.cache_gib must be positive, got {self.cache_gib}")
        check_least(0, "data", self, "max_resident_gib")
        check_fraction("data.max_broken_fraction", self.max_broken_fraction)
        for name in ("train_images", "test_images"):
            value = getattr(self, name)
            require(value is None or value >= 2, f"data.{name} must be at least 2, got {value}")


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Random views of each image. Defaults suit 32-pixel photographs: no blur."""

    crop_scale: tuple[float, float] = (0.25, 1.0)
    """Area of a global crop, as a fraction of the image's."""
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    """Aspect ratio of a crop, width over height."""
    local_views: int = 0
    """Number of small crops that only the student sees; 0 for none."""
    local_size: int = 16
    """Side of a local crop, in pixels; a multiple of the patch size."""
    local_scale: tuple[float, float] = (0.08, 0.25)
    """Area of a local crop, as a fraction of the image's."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    rotate_degrees: float = 0.0
    """Rotations are drawn from plus or minus this many degrees."""
    jitter: float = 0.8
    """Probability of colour jitter."""
    brightness: float = 0.4
    """Strength of the brightness jitter: a factor from 1 - x to 1 + x."""
    contrast: float = 0.4
    """Strength of the contrast jitter, likewise."""
    saturation: float = 0.2
    """Strength of the saturation jitter, likewise."""
    hue: float = 0.1
    """Strength of the hue jitter, as a fraction of the colour circle."""
    grey: float = 0.2
    """Probability of losing all colour."""
    blur: float = 0.0
    """Probability of a Gaussian blur; meant for 96 pixels and more."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Its standard deviation is drawn between these, in pixels of a 224-pixel view; smaller views get less."""

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey", "blur"):
            check_fraction(f"views.{name}", getattr(self, name))
        for name in ("crop_scale", "local_scale"):
            check_span(f"views.{name}", getattr(self, name), most=1)
        for name in ("crop_ratio", "blur_sigma"):
            check_span(f"views.{name}", getattr(self, name))
        check_least(0, "views", self, "local_views", "rotate_degrees", "brightness", "contrast", "saturation")
        check_least(1, "views", self, "local_size")
        require(0 <= self.hue <= 0.5, f"views.hue must be in [0, 0.5], got {self.hue}")


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Which patches the student does not see."""

    kind: Literal["random", "block"] = "random"
    """Independent patches, or rectangles of neighbouring patches."""
    ratio: tuple[float, float] = (0.2, 0.5)
    """Fraction of masked patches, drawn anew for each image between these two."""
    probability: float = 0.5
    """Probability that a view is masked at all."""
    even: bool = False
    """Deal out ratios that are spread evenly between the two, and mask `probability` of the views, rounded: every
    step then masks the same number of patches, so that on one device no tensor behind the views changes its shape."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        require(0 <= low <= high < 1, f"mask.ratio must satisfy 0 <= low <= high < 1, got ({low}, {high})")
        check_fraction("mask.probability", self.probability)
