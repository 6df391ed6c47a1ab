"""Retrieval: test images are queries for training images, ranked by cosine; those of the same class are relevant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """`map`, mean average precision in percent; a query whose class has no training image counts as 0."""
    from mrkd.evaluation.ranking import average_precisions

    labels, truth = train.labels("retrieval"), test.labels("retrieval")
    precisions = average_precisions(train.features, labels, test.features, truth)
    return {
        "map": 100.0 * precisions.mean().item(),
        "protocol": {"queries": "test images", "gallery": "training images", "ranking": "cosine", "depth": "all"},
    }


EVALUATOR = Evaluator(
    name="retrieval",
    title="retrieval mAP",
    columns=(Column(key="retrieval_map", path=("map",), heading="retrieval mAP", group="retrieval", score="mAP"),),
    measure=_measure,
    of_pixels=True,
    optional=True,
)
