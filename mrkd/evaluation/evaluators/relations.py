"""Relations between test images in two augmented views: do distances keep their order, and images their neighbours?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT

MOST_IMAGES = 1000


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """`spearman` of the pairwise distances, and `same_neighbour` in percent; None with fewer than three test images.

    Both say that views agree, and not that features are good: read them together with RankMe and k-NN.
    """
    from mrkd.evaluation.agreement import distance_rank_correlation, neighbour_agreement
    from mrkd.evaluation.augmented import augmented_features, fixed_choice

    chosen = fixed_choice(test, MOST_IMAGES)
    if len(chosen) < 3:
        return None
    first, second = augmented_features(vit, chosen, config, copies=2)
    return {
        "spearman": distance_rank_correlation(first, second),
        "same_neighbour": neighbour_agreement(first, second),
        "protocol": {
            "images": len(chosen),
            "augmentation": "that of the evaluation",
            "distance": "Euclidean",
            "neighbour": "nearest by cosine",
            "seed": config.evaluation.seed,
        },
    }


EVALUATOR = Evaluator(
    name="relations",
    title="relations of two views",
    columns=(
        Column(
            key="relations_spearman",
            path=("spearman",),
            heading="relation ρ",
            group="distances in two views",
            score="rank correlation",
            unit="Spearman",
            decimals=3,
        ),
        Column(
            key="relations_same_neighbour",
            path=("same_neighbour",),
            heading="same neighbour",
            title="same nearest neighbour in two views",
            group="neighbours in two views",
            score="same",
        ),
    ),
    measure=_measure,
    needs_labels=False,
    of_features=False,
)
