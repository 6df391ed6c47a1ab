"""Settings of the data, of the views and of the masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_fraction, check_least, check_span, require
from mrkd.config.setting import setting
from mrkd.config.source import absolute_source


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images: source, number, size, decoding and cache."""

    source: str = setting("digits", resumable=True, part_of_measurement=True)
    """`digits` or `shapes` (embedded); a folder of images, of parquet files or of WebDataset shards (.tar); one such
    file; a CSV or TSV of paths; or `hub:owner/name` on the Hugging Face hub (`hub:owner/name:configuration` in full).
    A path becomes absolute. A run goes on with another one where the images are the same."""
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
    """Whether to look for labels; set it to false where folder names are no classes, such as dates."""
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


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Random views of each image. The defaults, without blur, suit photographs of 32 pixels."""

    crop_scale: tuple[float, float] = (0.25, 1.0)
    """Area of a global crop, as a fraction of the image's."""
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    """Aspect ratio of a crop, width over height."""
    local_views: int = 0
    """Number of local crops, which only the student sees; 0 for none."""
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
    """Probability of conversion to grey."""
    blur: float = 0.0
    """Probability of a Gaussian blur; recommended for 96 pixels and more."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the blur's standard deviation, in pixels of a 224-pixel view; scaled down for smaller views."""

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
    """Which patches of the student's views are masked."""

    kind: Literal["random", "block", "blocks"] = "random"
    """Mask independent patches, one rectangle of neighbouring patches (`block`), or several as iBOT draws them
    (`blocks`); `blocks` masks at most the drawn fraction, the others exactly that fraction."""
    ratio: tuple[float, float] = (0.2, 0.5)
    """Range from which the fraction of masked patches is drawn for each image."""
    probability: float = 0.5
    """Probability that a view is masked."""
    even: bool = False
    """Spread the ratios evenly between the two, and mask exactly the fraction `probability` of the views: every step
    then masks the same number of patches, and on one device the tensors behind the views keep their shapes."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        require(0 <= low <= high < 1, f"mask.ratio must satisfy 0 <= low <= high < 1, got ({low}, {high})")
        check_fraction("mask.probability", self.probability)
        require(
            not (self.even and self.kind == "blocks"),
            "mask.even needs mask.kind random or block: the number of patches in several blocks varies",
        )
