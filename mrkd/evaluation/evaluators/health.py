"""Rank (RankMe) and standard deviation of the test features; needs no labels and has no settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """`rankme`, the effective rank, its maximum `width`, and `feature_std`."""
    from mrkd.evaluation.collapse import feature_std, rankme

    return {
        "rankme": rankme(test.features),
        "feature_std": feature_std(test.features),
        "width": test.features.shape[1],
    }


EVALUATOR = Evaluator(
    name="health",
    title="RankMe",
    columns=(
        Column(
            key="rankme",
            path=("rankme",),
            heading="RankMe",
            group="effective rank",
            score="RankMe",
            primary=True,
            unit="directions",
        ),
    ),
    measure=_measure,
    needs_labels=False,
)
