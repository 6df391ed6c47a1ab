"""Section `evaluation`: how the backbone is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from mrkd.config.checks import check_fraction, check_least, check_positive, check_seed, check_span, require
from mrkd.config.sections.views import ViewsConfig
from mrkd.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the backbone is evaluated, frozen and fine-tuned."""

    k: int = 20
    """Number of neighbours of the weighted k-NN."""
    knn_temperature: float = 0.07
    """Temperature of the k-NN: a vote has the weight exp(cosine / temperature)."""
    linear_strengths: tuple[float, ...] = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0)
    """Candidates for the strength C of the linear probe, as in scikit-learn; held-out training images decide."""
    linear_epochs: tuple[int, ...] = (10,)
    """Lengths of the SGD probe, in epochs; there is one result for each."""
    linear_batch: int = 256
    """Batch size of the SGD probe."""
    linear_learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Candidate learning rates of the SGD probe; held-out training images decide."""
    finetune_epochs: int = 10
    """Epochs of fine-tuning of all weights with a classifier on the class token; 0 skips it."""
    finetune_batch: int = 128
    """Batch size of fine-tuning."""
    finetune_learning_rates: tuple[float, ...] = (5e-4, 2e-3)
    """Candidate learning rates of fine-tuning; held-out training images decide."""
    augmentation_crop_scale: tuple[float, float] = (0.6, 1.0)
    """Random crops for the clustering head and for fine-tuning: area as a fraction of the image's."""
    augmentation_crop_ratio: tuple[float, float] = (0.75, 1.3333)
    """Aspect ratio of these crops, width over height."""
    augmentation_flip: float = 0.5
    """Probability of a horizontal flip of these crops."""
    augmentation_rotate_degrees: float = 0.0
    """Rotations of these crops are drawn from plus or minus this many degrees."""
    augmentation_jitter: float = 0.0
    """Probability of a change of brightness and contrast of these crops."""
    augmentation_brightness: float = 0.2
    """Strength of the change of brightness: a factor from 1 - x to 1 + x."""
    augmentation_contrast: float = 0.2
    """Strength of the change of contrast, likewise."""
    cluster_restarts: int = 10
    """Number of k-means initialisations; the one with the lowest inertia is used."""
    cluster_head_epochs: int = 20
    """Epochs of training of the clustering head on frozen features; 0 skips it."""
    more: tuple[str, ...] = ()
    """Optional measurements to make, too, such as `retrieval`; docs/measurements.md lists them. Each takes longer."""
    map_images: int = setting(1000, part_of_measurement=False)
    """Maximum number of test images on the report's map; 0 makes no map."""
    heldout_fraction: float = 0.2
    """Fraction of the training images held out to choose learning rates, and for the k-NN during training."""
    seed: int = 0
    """Seed of the probes and of k-means."""

    def __post_init__(self) -> None:
        check_least(1, "evaluation", self, "k", "linear_batch", "finetune_batch", "cluster_restarts")
        check_least(0, "evaluation", self, "finetune_epochs", "cluster_head_epochs")
        check_positive("evaluation", self, "knn_temperature")
        check_span("evaluation.augmentation_crop_scale", self.augmentation_crop_scale, most=1)
        check_span("evaluation.augmentation_crop_ratio", self.augmentation_crop_ratio)
        for name in ("augmentation_flip", "augmentation_jitter"):
            check_fraction(f"evaluation.{name}", getattr(self, name))
        strengths = ("augmentation_rotate_degrees", "augmentation_brightness", "augmentation_contrast")
        check_least(0, "evaluation", self, *strengths)
        check_seed("evaluation.seed", self.seed)
        require(
            self.map_images == 0 or self.map_images >= 10,
            f"evaluation.map_images must be 0, or at least 10, got {self.map_images}",
        )
        require(
            0.01 <= self.heldout_fraction <= 0.5,
            f"evaluation.heldout_fraction must be in [0.01, 0.5], got {self.heldout_fraction}",
        )
        require(
            len(set(self.more)) == len(self.more),
            f"evaluation.more must name each measurement once, got {list(self.more)}",
        )
        lengths = self.linear_epochs
        require(len(lengths) > 0, "evaluation.linear_epochs must name at least one length, got none")
        require(
            all(length >= 1 for length in lengths),
            f"evaluation.linear_epochs must be lengths of at least 1, got {list(lengths)}",
        )
        candidates = self.linear_strengths
        require(
            len(candidates) > 0 and all(strength > 0 for strength in candidates),
            f"evaluation.linear_strengths must be positive numbers, at least one, got {list(candidates)}",
        )
        for name in ("linear_learning_rates", "finetune_learning_rates"):
            rates = getattr(self, name)
            require(len(rates) > 0, f"evaluation.{name} must name at least one learning rate, got none")
            require(
                all(rate > 0 for rate in rates), f"evaluation.{name} must be positive learning rates, got {list(rates)}"
            )

    @property
    def augmentation(self) -> ViewsConfig:
        """The random crops for the clustering head and for fine-tuning, as settings of views."""
        return ViewsConfig(
            crop_scale=self.augmentation_crop_scale,
            crop_ratio=self.augmentation_crop_ratio,
            flip=self.augmentation_flip,
            rotate_degrees=self.augmentation_rotate_degrees,
            jitter=self.augmentation_jitter,
            brightness=self.augmentation_brightness,
            contrast=self.augmentation_contrast,
            saturation=0.0,
            hue=0.0,
            grey=0.0,
        )
