"""Fine-tuning: all weights of a copy of the backbone are trained on labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any] | None:
    """`acc1` and `acc5` with the learning rate that was best on held-out training images."""
    from mrkd.evaluation.classifiers import finetuning
    from mrkd.evaluation.classifiers.accuracy import accuracy

    settings = config.evaluation
    epochs = settings.finetune_epochs
    if epochs == 0:
        return None
    fitted = finetuning.fit(vit, train.images, settings, settings.augmentation, epochs=epochs, seed=settings.seed)
    scores, truth = finetuning.predict(fitted.model, test.images)
    return {
        "acc1": accuracy(scores, truth),
        "acc5": accuracy(scores, truth, 5),
        "protocol": {
            "epochs": settings.finetune_epochs,
            "learning_rate": fitted.learning_rate,
            "chosen_on": fitted.chosen_on,
            "candidates": list(settings.finetune_learning_rates),
            "batch": settings.finetune_batch,
            "optimizer": "AdamW",
            "seed": settings.seed,
        },
    }


EVALUATOR = Evaluator(
    name="finetune",
    title="fine-tune",
    columns=(
        Column(
            key="finetune_acc1",
            path=("acc1",),
            heading="fine-tune @1",
            title="fine-tune",
            group="fine-tuned",
            score="top-1",
            primary=True,
        ),
        Column(
            key="finetune_acc5",
            path=("acc5",),
            heading="@5 (fine-tune)",
            title="fine-tune @5",
            group="fine-tuned",
            score="top-5",
        ),
    ),
    measure=_measure,
    of_features=False,
)
