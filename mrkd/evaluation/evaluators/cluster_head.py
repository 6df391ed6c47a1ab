"""A clustering head: a linear layer, trained without labels so that augmented copies of an image share a cluster."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from torch import Tensor

    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

COPIES = 4
"""Number of augmented copies of each training image."""


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """`acc`, `nmi` and `ari` of the clusters of test images."""
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.clustering import cluster_count, fit_cluster_head, score_clusters

    settings = config.evaluation
    if settings.cluster_head_epochs == 0:
        return None
    count = cluster_count(train.labels("clustering"))
    copies = _augmented_features(vit, train, config)
    weights = fit_cluster_head(copies, clusters=count, epochs=settings.cluster_head_epochs, seed=settings.seed)
    scores = linear.predict(linear.standardize(test.features, train.features), weights)
    truth = test.labels("clustering").cpu().numpy()
    return {
        **dataclasses.asdict(score_clusters(scores.argmax(dim=1).cpu().numpy(), truth)),
        "protocol": {
            "clusters": count,
            "epochs": settings.cluster_head_epochs,
            "augmented_copies": COPIES,
            "seed": settings.seed,
            "matching": "Hungarian",
        },
    }


def _augmented_features(vit: ViT, train: FeatureSet, config: Config) -> Tensor:
    """(COPIES, n, D) standardised class tokens of random views of the training images."""
    import torch

    from mrkd.data.augment.views import ViewMaker
    from mrkd.data.dataset import in_order, readable_batches
    from mrkd.evaluation.classifiers import linear

    settings = config.evaluation
    torch.manual_seed(settings.seed)
    maker = ViewMaker(config.evaluation.augmentation, config.data.size)
    copies = train.features.repeat(COPIES, 1, 1)
    for copy in copies:
        for rows, pixels in readable_batches(train.images, in_order(train.images)):
            copy[rows] = vit.forward_features(maker(pixels, views=1)[0][0])[:, 0].detach().float()
        copy.copy_(linear.standardize(copy, train.features))
    return copies


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
    ),
    measure=_measure,
    of_features=False,
)
