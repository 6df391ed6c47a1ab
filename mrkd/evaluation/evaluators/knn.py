"""k-NN: weighted votes of the nearest training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from torch import Tensor

    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """`acc1` and `acc5` of the weighted votes, and `acc1_k1` of the nearest image alone."""
    from mrkd.evaluation.classifiers.accuracy import accuracy
    from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores

    settings = config.evaluation
    labels, truth = train.labels("k-NN"), test.labels("k-NN")

    def scores(k: int) -> Tensor:
        return knn_class_scores(
            train.features,
            labels,
            test.features,
            k=min(k, len(train)),
            temperature=settings.knn_temperature,
            classes=train.classes,
        )

    votes = scores(settings.k)
    return {
        "acc1": accuracy(votes, truth),
        "acc5": accuracy(votes, truth, 5),
        "acc1_k1": accuracy(scores(1), truth),
        "protocol": {"k": settings.k, "temperature": settings.knn_temperature, "distance": "cosine"},
    }


EVALUATOR = Evaluator(
    name="knn",
    title="k-NN",
    columns=(Column(key="knn", path=("acc1",), heading="k-NN @1", title="k-NN", score="top-1", primary=True),),
    measure=_measure,
    of_pixels=True,
)
