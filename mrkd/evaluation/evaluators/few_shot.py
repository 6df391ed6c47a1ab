"""Few-shot classification: the nearest class mean of 1, 5 or 10 labelled training images of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

SHOTS = (1, 5, 10)
"""Labelled images of each class."""
DRAWS = 20
"""Number of draws of these images, over which the mean is taken."""


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """For each number of labels: `acc1`, mean over the draws, and `acc1_std`, their sample standard deviation.

    A number of labels that some class does not have is left out.
    """
    from statistics import fmean, stdev

    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.classifiers.class_means import centre_and_normalise, draw_each_class, nearest_mean_weights

    labels, truth = train.labels("few-shot classification"), test.labels("few-shot classification")
    fewest = int(labels.bincount()[labels.unique()].min())
    known, queries = (centre_and_normalise(part.features, train.features) for part in (train, test))
    rows = draw_each_class(labels, min(fewest, max(SHOTS)), draws=DRAWS, seed=config.evaluation.seed)
    results: dict[str, Any] = {}
    for shots in [shots for shots in SHOTS if shots <= fewest]:
        weights = nearest_mean_weights(known, labels, rows[:, :, :shots], classes=train.classes)
        scores = linear.accuracies(queries, truth, weights)
        results[_name(shots)] = {
            "acc1": fmean(scores),
            "acc1_std": stdev(scores),
            "protocol": {
                "labels_per_class": shots,
                "draws": DRAWS,
                "classifier": "nearest class mean",
                "features": "centred and L2-normalised",
                "seed": config.evaluation.seed,
            },
        }
    return results or None


def _name(shots: int) -> str:
    return "1_label" if shots == 1 else f"{shots}_labels"


EVALUATOR = Evaluator(
    name="few_shot",
    title="few-shot",
    columns=tuple(
        Column(
            key=f"few_shot_{shots}",
            path=(_name(shots), "acc1"),
            heading=f"{shots}-shot @1",
            title=f"few-shot, {_name(shots).replace('_', ' ')}",
            group="few-shot, nearest class mean",
            score=_name(shots).replace("_", " "),
        )
        for shots in SHOTS
    ),
    measure=_measure,
    of_pixels=True,
)
