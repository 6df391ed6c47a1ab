"""LiDAR: the number of directions in which images differ by more than the views of one image do; needs no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

VIEWS = 10
"""Random views of each image. The paper has 50; values of different numbers cannot be compared."""
MOST_IMAGES = 1000
"""As in the paper."""


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """`lidar`, the effective rank; None with fewer than two test images."""
    from mrkd.evaluation.augmented import augmented_features, fixed_choice
    from mrkd.evaluation.discriminant import RIDGE, lidar

    chosen = fixed_choice(test, MOST_IMAGES)
    if len(chosen) < 2:
        return None
    return {
        "lidar": lidar(augmented_features(vit, chosen, config, copies=VIEWS)),
        "protocol": {
            "images": len(chosen),
            "views": VIEWS,
            "augmentation": "that of the evaluation",
            "ridge": RIDGE,
            "seed": config.evaluation.seed,
        },
    }


EVALUATOR = Evaluator(
    name="lidar",
    title="LiDAR",
    columns=(Column(key="lidar", path=("lidar",), heading="LiDAR", unit="directions"),),
    measure=_measure,
    needs_labels=False,
    of_features=False,
    optional=True,
)
