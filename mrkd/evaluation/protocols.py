"""All four measurements of one run, each with its protocol beside it."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrkd.arrays import write_arrays
from mrkd.config import Config, EvaluationConfig
from mrkd.data.sources import ImageSet, load, stratified_split
from mrkd.data.views import ViewMaker
from mrkd.evaluation import clustering, finetune, linear
from mrkd.evaluation.collapse import feature_std, rankme
from mrkd.evaluation.embedding import embedding_map
from mrkd.evaluation.features import extract
from mrkd.evaluation.knn import accuracy, knn_class_scores
from mrkd.model.backbone import ViT
from mrkd.model.export import load_backbone
from mrkd.run import EMBEDDING, EVALUATION, Run, write_json


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
    splits = load(config.data)
    test = splits.require_test()
    splits.train.require_labels("evaluation")
    test.require_labels("evaluation")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vit = load_backbone(run).to(device)
    started = time.monotonic()
    results = measure(vit, splits.train.to(device), test.to(device), config)
    results["data"] = {
        "name": splits.name,
        "train_images": len(splits.train),
        "test_images": len(test),
        "scored_on": config.data.holdout,
        "broken": len(splits.broken),
    }
    results["seconds"] = time.monotonic() - started
    settings = config.evaluation
    if settings.map_images:
        features = extract(vit, test.images.to(device))
        shown = embedding_map(features, test, limit=settings.map_images, seed=settings.seed)
        write_arrays(run.path / EMBEDDING, shown)
    write_json(run.path / EVALUATION, results)
    return results


def measure(vit: ViT, train: ImageSet, test: ImageSet, config: Config) -> dict[str, Any]:
    """Every protocol's figures for one backbone; images and backbone on the same device."""
    settings = config.evaluation
    train_features, test_features = extract(vit, train.images), extract(vit, test.images)
    results: dict[str, Any] = {
        "knn": _knn(train_features, test_features, train, test, settings),
        "linear": _linear(train_features, test_features, train, test, settings),
        "health": {
            "rankme": rankme(test_features),
            "feature_std": feature_std(test_features),
            "width": test_features.shape[1],
        },
    }
    results["kmeans"] = _kmeans(train_features, test_features, train, test, settings)
    if settings.cluster_head_epochs:
        results["cluster_head"] = _cluster_head(vit, train, test, test_features, train_features, config)
    if settings.finetune_epochs:
        results["finetune"] = _finetune(vit, train, test, config)
    return results


def _classes(train: ImageSet) -> int:
    return len(train.class_names)


def _knn(
    train_features: Tensor, test_features: Tensor, train: ImageSet, test: ImageSet, settings: EvaluationConfig
) -> dict[str, Any]:
    labels, truth = train.require_labels("k-NN"), test.require_labels("k-NN")

    def scores(k: int) -> Tensor:
        return knn_class_scores(
            train_features,
            labels,
            test_features,
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


def _linear(
    train_features: Tensor, test_features: Tensor, train: ImageSet, test: ImageSet, settings: EvaluationConfig
) -> dict[str, Any]:
    labels, truth = train.require_labels("the linear probe"), test.require_labels("the linear probe")
    fit_index, choose_index = _choice_split(train, settings)
    inputs, queries = (linear.standardize(part, train_features) for part in (train_features, test_features))
    common: dict[str, Any] = {"classes": _classes(train), "batch": settings.linear_batch, "seed": settings.seed}
    results: dict[str, Any] = {}
    for epochs in settings.linear_epochs:
        rates = settings.linear_learning_rates
        weights = linear.fit_probes(inputs[fit_index], labels[fit_index], learning_rates=rates, epochs=epochs, **common)
        held_out = [accuracy(scores, labels[choose_index]) for scores in linear.predict(inputs[choose_index], weights)]
        rate = rates[max(range(len(rates)), key=held_out.__getitem__)]
        final = linear.fit_probes(inputs, labels, learning_rates=(rate,), epochs=epochs, **common)
        scores = linear.predict(queries, final)[0]
        results[f"{epochs}_epochs"] = {
            "acc1": accuracy(scores, truth),
            "acc5": accuracy(scores, truth, 5),
            "protocol": {
                "learning_rate": rate,
                "chosen_on": f"{len(choose_index)} held-out training images",
                "candidates": list(rates),
                "batch": settings.linear_batch,
                "seed": settings.seed,
            },
        }
    return results


def _choice_split(train: ImageSet, settings: EvaluationConfig) -> tuple[Tensor, Tensor]:
    positions = torch.arange(len(train), device=train.images.device)
    numbered = dataclasses.replace(train, images=positions)
    fit, choose = stratified_split(numbered, settings.heldout_fraction)
    return fit.images, choose.images


def _kmeans(
    train_features: Tensor, test_features: Tensor, train: ImageSet, test: ImageSet, settings: EvaluationConfig
) -> dict[str, Any]:
    clusters = clustering.kmeans_clusters(
        train_features, test_features, clusters=_classes(train), restarts=settings.cluster_restarts, seed=settings.seed
    )
    truth = test.require_labels("clustering").cpu().numpy()
    return {
        **dataclasses.asdict(clustering.score_clusters(clusters, truth)),
        "protocol": {
            "clusters": _classes(train),
            "restarts": settings.cluster_restarts,
            "seed": settings.seed,
            "features": "L2-normalised class token",
            "matching": "Hungarian",
        },
    }


def _cluster_head(
    vit: ViT,
    train: ImageSet,
    test: ImageSet,
    test_features: Tensor,
    train_features: Tensor,
    config: Config,
) -> dict[str, Any]:
    settings = config.evaluation
    torch.manual_seed(settings.seed)
    maker = ViewMaker(config.views, config.data.size)
    copies = []
    for _ in range(4):
        parts = [vit.forward_features(maker(part, views=1)[0][0])[:, 0].detach() for part in train.images.split(512)]
        copies.append(linear.standardize(torch.cat(parts).float(), train_features))
    weights = clustering.fit_cluster_head(
        torch.stack(copies), clusters=_classes(train), epochs=settings.cluster_head_epochs, seed=settings.seed
    )
    scores = linear.predict(linear.standardize(test_features, train_features), weights)
    truth = test.require_labels("clustering").cpu().numpy()
    return {
        **dataclasses.asdict(clustering.score_clusters(scores.argmax(dim=1).cpu().numpy(), truth)),
        "protocol": {
            "clusters": _classes(train),
            "epochs": settings.cluster_head_epochs,
            "augmented_copies": 4,
            "seed": settings.seed,
            "matching": "Hungarian",
        },
    }


def _finetune(vit: ViT, train: ImageSet, test: ImageSet, config: Config) -> dict[str, Any]:
    settings = config.evaluation
    fitted = finetune.fit(vit, train, settings, config.views, epochs=settings.finetune_epochs, seed=settings.seed)
    scores, truth = finetune.predict(fitted.model, test.images), test.require_labels("fine-tuning")
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
