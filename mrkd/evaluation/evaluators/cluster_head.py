"""A clustering head: a linear layer, trained without labels so that augmented copies of an image share a cluster."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

COPIES = 4
"""Number of augmented copies of each training image."""


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """`acc`, `nmi` and `ari` of the clusters of test images, and `acc5` of the five most likely ones.

    For `acc5` each cluster stands for the class that is matched to it for `acc`.
    """
    import torch

    from mrkd.evaluation.augmented import augmented_features
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.clustering import cluster_count, fit_cluster_head, score_clusters, top_accuracy

    settings = config.evaluation
    if settings.cluster_head_epochs == 0:
        return None
    count = cluster_count(train.labels("clustering"))
    copies = augmented_features(vit, train, config, copies=COPIES)
    copies = torch.stack([linear.standardize(copy, train.features) for copy in copies])
    weights = fit_cluster_head(copies, clusters=count, epochs=settings.cluster_head_epochs, seed=settings.seed)
    scores = linear.predict(linear.standardize(test.features, train.features), weights)
    truth = test.labels("clustering").cpu().numpy()
    return {
        **dataclasses.asdict(score_clusters(scores.argmax(dim=1).cpu().numpy(), truth)),
        "acc5": top_accuracy(scores.cpu().numpy(), truth, top=5),
        "protocol": {
            "clusters": count,
            "epochs": settings.cluster_head_epochs,
            "augmented_copies": COPIES,
            "seed": settings.seed,
            "matching": "Hungarian",
        },
    }


EVALUATOR = Evaluator(
    name="cluster_head",
    title="cluster head",
    columns=(
        Column(
            key="cluster_head_acc",
            path=("acc",),
            heading="head ACC",
            title="cluster head",
            group="clusters of a trained head",
            score="accuracy",
        ),
        Column(
            key="cluster_head_acc5",
            path=("acc5",),
            heading="head ACC @5",
            title="cluster head @5",
            group="clusters of a trained head",
            score="top-5",
        ),
    ),
    measure=_measure,
    of_features=False,
)
