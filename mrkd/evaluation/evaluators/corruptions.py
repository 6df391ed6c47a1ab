"""k-NN of corrupted test images: noise, blur, JPEG and low contrast. The training images stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

SHOWN = {"noise": "noise", "blur": "blur", "jpeg": "JPEG", "contrast": "low contrast"}
"""Name of a corruption -> its name in headings."""


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """Accuracy with each corruption, by name, and `mean` over them, in percent."""
    from statistics import fmean

    from mrkd.evaluation import corruption
    from mrkd.evaluation.classifiers.accuracy import accuracy
    from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores

    settings = config.evaluation
    labels, _ = train.labels("k-NN of corrupted images"), test.labels("k-NN of corrupted images")
    found = {}
    for name in corruption.CORRUPTIONS:
        queries = corruption.corrupted_features(vit, test.images, name, seed=settings.seed)
        votes = knn_class_scores(
            train.features,
            labels,
            queries.features,
            k=min(settings.k, len(train)),
            temperature=settings.knn_temperature,
            classes=train.classes,
        )
        found[name] = accuracy(votes, queries.labels("k-NN of corrupted images"))
    return {
        "mean": fmean(found.values()),
        **found,
        "protocol": {
            **corruption.STRENGTHS,
            "k": settings.k,
            "temperature": settings.knn_temperature,
            "seed": settings.seed,
        },
    }


EVALUATOR = Evaluator(
    name="corruptions",
    title="k-NN of corrupted images",
    columns=(
        Column(
            key="corruptions_mean",
            path=("mean",),
            heading="k-NN corrupted",
            title="k-NN of corrupted images",
            score="mean",
        ),
        *(
            Column(
                key=f"corruptions_{name}",
                path=(name,),
                heading=shown,
                title=f"k-NN with {shown}",
                group="k-NN of corrupted images",
                score=shown,
            )
            for name, shown in SHOWN.items()
        ),
    ),
    measure=_measure,
    of_features=False,
    optional=True,
)
