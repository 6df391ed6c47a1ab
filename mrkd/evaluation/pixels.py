"""Raw pixels in place of features: the reference that learnt features must exceed. Axes: B images, S pixels."""

import time
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.config import Config
from mrkd.data.dataset import ImageDataset
from mrkd.data.load import load
from mrkd.data.sources.splits import sample
from mrkd.evaluation.evaluators import wanted
from mrkd.evaluation.features import FeatureSet, compute_features
from mrkd.model.backbone import ViT
from mrkd.runs.comparability import measurement_settings

LARGEST = 32
"""Larger images are averaged down to this side: pixels of photographs would fill any memory, and say little alone."""
MOST_TRAINING_IMAGES = 50_000
"""Of more, a fixed sample is taken."""


def pixel_features(train: ImageDataset, test: ImageDataset) -> tuple[FeatureSet, FeatureSet]:
    """The pixels of training and test images, in order, less the mean training image: features (n, 3 side²)."""
    train = train.take(sample(train.require_labels("raw pixels"), MOST_TRAINING_IMAGES).to(train.device))
    side = min(train.size, LARGEST)

    def flat(pixels: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pixels.float() / 255, side).flatten(1)

    known, asked = (
        compute_features(images, flat, width=3 * side**2, title=f"pixels of {title}")
        for images, title in ((train, "training images"), (test, "test images"))
    )
    mean = known.features.mean(dim=0)
    for part in (known, asked):
        part.features.sub_(mean)
    return known, asked


def evaluate_pixels(config: Config) -> dict[str, Any]:
    """Centred raw pixels measured by each evaluator that can, in the form of an `evaluation.json`.

    Raises:
        UserError: the data has no labels or no test split.
    """
    splits = load(config.data, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    started = time.monotonic()
    train, test = pixel_features(*splits.labelled("raw pixels"))
    no_network = cast(ViT, None)
    measured = {
        evaluator.name: evaluator.measure(no_network, train, test, config)
        for evaluator in wanted(config.evaluation.more)
        if evaluator.of_pixels
    }
    results: dict[str, Any] = {name: value for name, value in measured.items() if value is not None}
    results["data"] = {
        "name": splits.name,
        "train_images": len(train),
        "test_images": len(test),
        "scored_on": config.data.holdout,
        "pixels": min(splits.train.size, LARGEST),
    }
    results["seconds"] = time.monotonic() - started
    results["measured_with"] = measurement_settings(config)
    return results
