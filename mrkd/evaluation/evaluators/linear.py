"""The linear probe on frozen features: logistic regression at its optimum, its strength chosen on held-out images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrkd.evaluation.evaluator import Column, Evaluator

if TYPE_CHECKING:
    from torch import Tensor

    from mrkd.config import Config
    from mrkd.config.sections.evaluation import EvaluationConfig
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


def _measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """`acc1` and `acc5` of a probe on all training images, with the strength that did best on held-out ones."""
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.classifiers.accuracy import accuracy
    from mrkd.evaluation.classifiers.logistic import fit_logistic

    settings = config.evaluation
    labels, truth = train.labels("the linear probe"), test.labels("the linear probe")
    inputs, queries = (linear.standardize(part.features, train.features) for part in (train, test))
    strength, chosen_on = _choose_strength(inputs, labels, train.classes, settings)
    weights = fit_logistic(inputs, labels, classes=train.classes, strengths=(strength,))
    scores = linear.predict(queries, weights)[0]
    return {
        "acc1": accuracy(scores, truth),
        "acc5": accuracy(scores, truth, 5),
        "protocol": {
            "strength": strength,
            "chosen_on": chosen_on,
            "candidates": list(settings.linear_strengths),
            "solver": "L-BFGS to the optimum",
            "features": "standardised",
        },
    }


def _choose_strength(inputs: Tensor, labels: Tensor, classes: int, settings: EvaluationConfig) -> tuple[float, str]:
    """The best candidate on a part of the training images held out from the fit, and how it was chosen, in words."""
    from mrkd.data.sources.splits import stratified
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.classifiers.logistic import fit_logistic

    strengths = settings.linear_strengths
    fit_index, choose_index = (part.to(labels.device) for part in stratified(labels, settings.heldout_fraction))
    if len(choose_index) == 0:
        return strengths[len(strengths) // 2], "fixed: too few labels"
    weights = fit_logistic(inputs[fit_index], labels[fit_index], classes=classes, strengths=strengths)
    held_out = linear.accuracies(inputs[choose_index], labels[choose_index], weights)
    strength = strengths[max(range(len(strengths)), key=held_out.__getitem__)]
    return strength, f"{len(choose_index)} held-out training images"


EVALUATOR = Evaluator(
    name="linear",
    title="linear",
    columns=(
        Column(
            key="linear_acc1",
            path=("acc1",),
            heading="linear @1",
            title="linear",
            group="linear probe",
            score="top-1",
            primary=True,
        ),
        Column(key="linear_acc5", path=("acc5",), heading="@5", title="linear @5", group="linear probe", score="top-5"),
    ),
    measure=_measure,
    of_pixels=True,
)
