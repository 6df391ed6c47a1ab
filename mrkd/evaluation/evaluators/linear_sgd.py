"""The poster's linear probe on frozen features: SGD for some epochs, which may end short of the optimum."""

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
    """`acc1` and `acc5` after each number of epochs, with the learning rate that did best on held-out images."""
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.classifiers.accuracy import accuracy
    from mrkd.evaluation.classifiers.sgd_probe import fit_probes

    settings = config.evaluation
    labels, truth = train.labels("the SGD probe"), test.labels("the SGD probe")
    inputs, queries = (linear.standardize(part.features, train.features) for part in (train, test))
    results: dict[str, Any] = {}
    for epochs in settings.linear_epochs:
        rate, chosen_on = _choose_rate(inputs, labels, train.classes, settings, epochs)
        final = fit_probes(inputs, labels, learning_rates=(rate,), epochs=epochs, **_common(train.classes, settings))
        scores = linear.predict(queries, final)[0]
        results[f"{epochs}_epochs"] = {
            "acc1": accuracy(scores, truth),
            "acc5": accuracy(scores, truth, 5),
            "protocol": {
                "learning_rate": rate,
                "chosen_on": chosen_on,
                "candidates": list(settings.linear_learning_rates),
                "batch": settings.linear_batch,
                "seed": settings.seed,
            },
        }
    return results


def _choose_rate(
    inputs: Tensor, labels: Tensor, classes: int, settings: EvaluationConfig, epochs: int
) -> tuple[float, str]:
    """The best candidate on a part of the training images held out from the fit, and how it was chosen, in words."""
    from mrkd.data.sources.splits import stratified
    from mrkd.evaluation.classifiers import linear
    from mrkd.evaluation.classifiers.sgd_probe import fit_probes

    rates = settings.linear_learning_rates
    fit_index, choose_index = (part.to(labels.device) for part in stratified(labels, settings.heldout_fraction))
    if len(choose_index) == 0:
        return rates[len(rates) // 2], "fixed: too few labels"
    tried, known = inputs[fit_index], labels[fit_index]
    weights = fit_probes(tried, known, learning_rates=rates, epochs=epochs, **_common(classes, settings))
    held_out = linear.accuracies(inputs[choose_index], labels[choose_index], weights)
    rate = rates[max(range(len(rates)), key=held_out.__getitem__)]
    return rate, f"{len(choose_index)} held-out training images"


def _common(classes: int, settings: EvaluationConfig) -> dict[str, Any]:
    return {"classes": classes, "batch": settings.linear_batch, "seed": settings.seed}


EVALUATOR = Evaluator(
    name="linear_sgd",
    title="linear SGD",
    columns=(
        Column(
            key="linear_10_acc1",
            path=("10_epochs", "acc1"),
            heading="linear SGD @1 (10 ep)",
            title="linear SGD, 10 epochs",
            group="SGD linear probe, 10 epochs",
            score="top-1",
        ),
        Column(
            key="linear_10_acc5",
            path=("10_epochs", "acc5"),
            heading="@5 (10 ep)",
            title="linear SGD @5, 10 epochs",
            group="SGD linear probe, 10 epochs",
            score="top-5",
        ),
        Column(
            key="linear_100_acc1",
            path=("100_epochs", "acc1"),
            heading="linear SGD @1 (100 ep)",
            title="linear SGD, 100 epochs",
            group="SGD linear probe, 100 epochs",
            score="top-1",
            primary=True,
        ),
    ),
    measure=_measure,
    formerly="linear",
)
