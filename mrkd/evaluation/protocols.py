"""All four measurements of one run, each with its protocol beside it."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrkd.config import Config, EvaluationConfig
from mrkd.data.augment.views import ViewMaker
from mrkd.data.images import in_order
from mrkd.data.load import load
from mrkd.data.sources.splits import stratified
from mrkd.evaluation import clustering, finetune, linear
from mrkd.evaluation.collapse import feature_std, rankme
from mrkd.evaluation.embedding import FEWEST_ON_MAP, embedding_map
from mrkd.evaluation.features import FeatureSet, extract_features
from mrkd.evaluation.knn import accuracy, knn_class_scores
from mrkd.model.backbone import ViT
from mrkd.runs.comparability import measurement_settings
from mrkd.runs.npz import write_npz
from mrkd.runs.run import EMBEDDING, EVALUATION, Run
from mrkd.runs.weights import load_backbone
from mrkd.system.files import write_json


def evaluate(run_path: str | Path, config: Config | None = None) -> dict[str, Any]:
    """Measure a run's teacher backbone; write `evaluation.json` beside it, and `embedding.npz`, a map of test images.

    Args:
        run_path: a directory written by `pretrain`.
        config: the run's own config when None; given, its `data` and `evaluation` sections are used.
    Returns:
        What was written: per protocol its figures, in percent, and its parameters.
    Raises:
        UserError: no finished run, or the data has no labels.
    """
    run = Run.open(run_path)
    config = config or run.config()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = load(config.data, device)
    images = {"training images": splits.train, "test images": splits.require_test()}
    for part in images.values():
        part.require_labels("evaluation")
    vit = load_backbone(run).to(device)
    started = time.monotonic()
    train, test = (extract_features(vit, part, title=f"features of {title}") for title, part in images.items())
    results = measure(vit, train, test, config)
    results["data"] = {
        "name": splits.name,
        "train_images": len(train),
        "test_images": len(test),
        "scored_on": config.data.holdout,
        "broken": len(splits.broken) + sum(map(len, images.values())) - len(train) - len(test),
    }
    results["seconds"] = time.monotonic() - started
    results["measured_with"] = measurement_settings(config)
    write_json(run.path / EVALUATION, results)
    settings = config.evaluation
    if settings.map_images and len(test) >= FEWEST_ON_MAP:
        write_npz(run.path / EMBEDDING, embedding_map(test, limit=settings.map_images, seed=settings.seed))
    return results


def measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """Every protocol's figures for one backbone; images and backbone on the same device."""
    settings = config.evaluation
    results: dict[str, Any] = {
        "knn": _knn(train, test, settings),
        "linear": _linear(train, test, settings),
        "health": {
            "rankme": rankme(test.features),
            "feature_std": feature_std(test.features),
            "width": test.features.shape[1],
        },
    }
    results["kmeans"] = _kmeans(train, test, settings)
    if settings.cluster_head_epochs:
        results["cluster_head"] = _cluster_head(vit, train, test, config)
    if settings.finetune_epochs:
        results["finetune"] = _finetune(vit, train, test, config)
    return results


def _classes(train: FeatureSet) -> int:
    """Outputs of a classifier: one for every name."""
    return len(train.images.class_names)


def _clusters(train: FeatureSet) -> int:
    """As many as there are classes with images: names may be more, as with whole numbers for labels."""
    return len(train.labels("clustering").unique())


def _knn(train: FeatureSet, test: FeatureSet, settings: EvaluationConfig) -> dict[str, Any]:
    labels, truth = train.labels("k-NN"), test.labels("k-NN")

    def scores(k: int) -> Tensor:
        return knn_class_scores(
            train.features,
            labels,
            test.features,
            k=min(k, len(train)),
            temperature=settings.knn_temperature,
            classes=_classes(train),
        )

    votes = scores(settings.k)
    return {
        "acc1": accuracy(votes, truth),
        "acc5": accuracy(votes, truth, 5),
        "acc1_k1": accuracy(scores(1), truth),
        "protocol": {"k": settings.k, "temperature": settings.knn_temperature, "distance": "cosine"},
    }


def _linear(train: FeatureSet, test: FeatureSet, settings: EvaluationConfig) -> dict[str, Any]:
    labels, truth = train.labels("the linear probe"), test.labels("the linear probe")
    fit_index, choose_index = (part.to(labels.device) for part in stratified(labels, settings.heldout_fraction))
    inputs, queries = (linear.standardize(part.features, train.features) for part in (train, test))
    common: dict[str, Any] = {"classes": _classes(train), "batch": settings.linear_batch, "seed": settings.seed}
    results: dict[str, Any] = {}
    for epochs in settings.linear_epochs:
        rates = settings.linear_learning_rates
        rate, chosen_on = rates[len(rates) // 2], "fixed: too few labels"
        if len(choose_index) > 0:
            tried, known = inputs[fit_index], labels[fit_index]
            weights = linear.fit_probes(tried, known, learning_rates=rates, epochs=epochs, **common)
            held_out = linear.accuracies(inputs[choose_index], labels[choose_index], weights)
            rate = rates[max(range(len(rates)), key=held_out.__getitem__)]
            chosen_on = f"{len(choose_index)} held-out training images"
        final = linear.fit_probes(inputs, labels, learning_rates=(rate,), epochs=epochs, **common)
        scores = linear.predict(queries, final)[0]
        results[f"{epochs}_epochs"] = {
            "acc1": accuracy(scores, truth),
            "acc5": accuracy(scores, truth, 5),
            "protocol": {
                "learning_rate": rate,
                "chosen_on": chosen_on,
                "candidates": list(rates),
                "batch": settings.linear_batch,
                "seed": settings.seed,
            },
        }
    return results


def _kmeans(train: FeatureSet, test: FeatureSet, settings: EvaluationConfig) -> dict[str, Any]:
    clusters = clustering.kmeans_clusters(
        train.features, test.features, clusters=_clusters(train), restarts=settings.cluster_restarts, seed=settings.seed
    )
    truth = test.labels("clustering").cpu().numpy()
    return {
        **dataclasses.asdict(clustering.score_clusters(clusters, truth)),
        "protocol": {
            "clusters": _clusters(train),
            "restarts": settings.cluster_restarts,
            "seed": settings.seed,
            "features": "L2-normalised class token",
            "matching": "Hungarian",
        },
    }


def _cluster_head(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    settings = config.evaluation
    torch.manual_seed(settings.seed)
    maker = ViewMaker(config.evaluation.augmentation, config.data.size)
    copies = train.features.repeat(4, 1, 1)
    for copy in copies:
        for rows, pixels in train.images.batches(in_order(train.images)):
            copy[rows] = vit.forward_features(maker(pixels, views=1)[0][0])[:, 0].detach().float()
        copy.copy_(linear.standardize(copy, train.features))
    weights = clustering.fit_cluster_head(
        copies, clusters=_clusters(train), epochs=settings.cluster_head_epochs, seed=settings.seed
    )
    scores = linear.predict(linear.standardize(test.features, train.features), weights)
    truth = test.labels("clustering").cpu().numpy()
    return {
        **dataclasses.asdict(clustering.score_clusters(scores.argmax(dim=1).cpu().numpy(), truth)),
        "protocol": {
            "clusters": _clusters(train),
            "epochs": settings.cluster_head_epochs,
            "augmented_copies": 4,
            "seed": settings.seed,
            "matching": "Hungarian",
        },
    }


def _finetune(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    settings = config.evaluation
    epochs = settings.finetune_epochs
    fitted = finetune.fit(vit, train.images, settings, settings.augmentation, epochs=epochs, seed=settings.seed)
    scores, truth = finetune.predict(fitted.model, test.images)
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
