"""Segmentation by frozen patch features, where images have object masks: a linear probe and k-NN over patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

STRENGTH = 1.0
"""Of the linear probe, as in scikit-learn; thousands of patches leave it little influence."""


def _measure(vit: ViT | None, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """`linear` and `knn`: mean over object and background of the intersection over union of pixels, in percent.

    None where images have no masks. Without a network the raw pixels of patches are the features.
    """
    from mrkd.evaluation import segmentation
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.classifiers.logistic import fit_logistic
    from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores

    if train.images.masks is None or test.images.masks is None:
        return None
    settings = config.evaluation
    known = segmentation.chosen_patches(vit, train.images, config.model, segmentation.MOST_KNOWN)
    asked = segmentation.chosen_patches(vit, test.images, config.model, segmentation.MOST_ASKED)
    bank, queries = known.features.flatten(0, 1), asked.features.flatten(0, 1)
    labels = known.majority.flatten()
    standard, standard_queries = (linear.standardize(part, bank) for part in (bank, queries))
    weights = fit_logistic(standard, labels, classes=2, strengths=(STRENGTH,))
    neighbours = min(settings.k, len(bank))
    votes = knn_class_scores(bank, labels, queries, k=neighbours, temperature=settings.knn_temperature, classes=2)
    return {
        "linear": asked.mean_iou(linear.predict(standard_queries, weights)[0]),
        "knn": asked.mean_iou(votes / votes.sum(dim=1, keepdim=True)),
        "protocol": {
            "training_images": len(known),
            "test_images": len(asked),
            "patches_per_image": known.features.shape[1],
            "strength": STRENGTH,
            "k": neighbours,
            "temperature": settings.knn_temperature,
            "scored_on": "pixels, scores interpolated bilinearly",
        },
    }


EVALUATOR = Evaluator(
    name="patches",
    title="segmentation by patches",
    columns=(
        Column(
            key="patches_linear",
            path=("linear",),
            heading="patches mIoU",
            title="linear segmentation by patches",
            group="segmentation by patches",
            score="mIoU, linear",
        ),
        Column(
            key="patches_knn",
            path=("knn",),
            heading="mIoU (k-NN)",
            title="k-NN segmentation by patches",
            group="segmentation by patches",
            score="mIoU, k-NN",
        ),
    ),
    measure=_measure,
    needs_labels=False,
    needs_masks=True,
    of_features=False,
    of_pixels=True,
    optional=True,
)
