"""Monitoring during training: k-NN, rank and spread of features of training images, and the verdict."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.listing import UNLABELLED
from mrkd.data.load import stratified_split
from mrkd.data.resident import ResidentDataset
from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.evaluation.classifiers.nearest_neighbours import knn_class_scores
from mrkd.evaluation.collapse import Verdict, diagnose, feature_std, rankme
from mrkd.evaluation.features import extract
from mrkd.evaluation.trend import read_trend
from mrkd.model.teacher_student import TeacherStudent

FEWEST_SCORED = 3
"""Held-out images of which a k-NN is told."""


class FeatureMonitor:
    """Measures frozen features of training images; the test split is not used."""

    def __init__(self, train: ResidentDataset, config: Config) -> None:
        self.config = config
        held_out = config.evaluation.heldout_fraction
        self.bank, self.queries = stratified_split(train, held_out)
        if min(len(self.bank), len(self.queries)) == 0:  # one or two images of every class
            self.bank, self.queries = stratified_split(train, held_out, by_class=False)
        self.scores = min(len(self.bank), len(self.queries)) >= FEWEST_SCORED
        if not self.scores:  # a dozen images: all of them say more of the features' spread than one or two
            self.bank, self.queries = train, train

    @torch.no_grad()
    def measure(self, pair: TeacherStudent) -> dict[str, float]:
        """RankMe and std of the teacher's features and, with labels, k-NN on held-out training images.

        With fewer than `FEWEST_SCORED` held-out images there is no k-NN, and the rest is measured on all images.
        """
        vit = pair.teacher_vit().to(self.bank.images.device)
        # Compiled blocks would be compiled once more for batches of another size, and slower for every size.
        with torch.compiler.set_stance("force_eager"):
            bank, queries = extract(vit, self.bank.images), extract(vit, self.queries.images)
        result = {"feature_std": feature_std(queries), "rankme": rankme(queries)}
        if self.scores and self.bank.labels is not None and self.queries.labels is not None:
            known, asked = self.bank.labels != UNLABELLED, self.queries.labels != UNLABELLED
            if known.any() and asked.any():
                result["knn"] = self._knn(
                    bank[known], self.bank.labels[known], queries[asked], self.queries.labels[asked]
                )
        return result

    def _knn(self, bank: Tensor, bank_labels: Tensor, queries: Tensor, truth: Tensor) -> float:
        """Accuracy in percent of the labelled queries' votes among the labelled images of the bank."""
        settings = self.config.evaluation
        votes = knn_class_scores(
            bank,
            bank_labels,
            queries,
            k=min(settings.k, len(bank)),
            temperature=settings.knn_temperature,
            classes=len(self.bank.class_names),
        )
        return accuracy(votes, truth)


def judge(
    measurements: Sequence[dict[str, float]],
    health: dict[str, float],
    pair: TeacherStudent,
    config: Config,
    *,
    progress: float,
) -> Verdict:
    """The verdict on all measured features, the untrained network's first, and on this step's outputs.

    `progress` is the fraction of the steps that have been taken.
    """
    features, width = measurements[-1], pair.network.backbone.vit.embed_dim
    verdict = diagnose(
        feature_std=features["feature_std"],
        rank=features["rankme"],
        width=width,
        teacher_entropy=health.get("teacher_entropy"),
        prototypes=config.head.prototypes,
    )
    return verdict if verdict.collapsed else read_trend(measurements, width, progress=progress)


def status(loss: float | None, features: dict[str, float], verdict: str, data_wait: float | None = None) -> str:
    """The few numbers beside the progress bar; the loss may not be known yet; `data_wait` is a fraction of the time."""
    wait = "" if data_wait is None else f" · data-wait {100 * data_wait:.1f} %"
    knn = f" · k-NN {features['knn']:.1f} %" if "knn" in features else ""
    return f"loss {'–' if loss is None else f'{loss:.4f}'}{knn}{wait} · {verdict}"
