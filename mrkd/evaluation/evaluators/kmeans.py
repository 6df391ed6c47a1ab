"""k-means on training features; test images get the nearest centre, and clusters are matched to classes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """`acc`, `nmi` and `ari` of the clusters of test images."""
    from mrkd.evaluation.clustering import cluster_count, kmeans_clusters, score_clusters

    settings = config.evaluation
    count = cluster_count(train.labels("clustering"))
    clusters = kmeans_clusters(
        train.features, test.features, clusters=count, restarts=settings.cluster_restarts, seed=settings.seed
    )
    return {
        **dataclasses.asdict(score_clusters(clusters, test.labels("clustering").cpu().numpy())),
        "protocol": {
            "clusters": count,
            "restarts": settings.cluster_restarts,
            "seed": settings.seed,
            "features": "L2-normalised class token",
            "matching": "Hungarian",
        },
    }


_GROUP = "k-means clusters"
EVALUATOR = Evaluator(
    name="kmeans",
    title="k-means",
    columns=(
        Column(
            key="kmeans_acc",
            path=("acc",),
            heading="k-means ACC",
            title="k-means",
            group=_GROUP,
            score="accuracy",
            primary=True,
        ),
        Column(key="kmeans_nmi", path=("nmi",), heading="NMI", title="k-means NMI", group=_GROUP, score="NMI"),
        Column(key="kmeans_ari", path=("ari",), heading="ARI", title="k-means ARI", group=_GROUP, score="ARI"),
    ),
    measure=_measure,
)
