"""Section `views`: random views of the images."""

from __future__ import annotations

from dataclasses import dataclass

from mrkd.config.checks import check_fraction, check_least, check_span, require


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
