"""Run all evaluators on a run, and compute the map of its test images."""

import time
from pathlib import Path
from typing import Any

import torch

from mrkd.config import Config
from mrkd.data.load import load
from mrkd.evaluation.embedding import FEWEST_ON_MAP, embedding_map
from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.evaluation.features import FeatureSet, extract_features
from mrkd.model.backbone import ViT
from mrkd.runs.comparability import measurement_settings
from mrkd.runs.npz import write_npz
from mrkd.runs.run import EMBEDDING, EVALUATION, Run
from mrkd.runs.weights import load_backbone
from mrkd.system.files import write_json


def evaluate(run_path: str | Path, config: Config | None = None) -> dict[str, Any]:
    """Evaluate the teacher's backbone of a run; write `evaluation.json`, and `embedding.npz`, a map of test images.

    Args:
        run_path: a directory written by `pretrain`.
        config: its `data` and `evaluation` sections are used; None for the run's own config.
    Returns:
        The content of `evaluation.json`: for each evaluator its results and protocol.
    Raises:
        UserError: there is no finished run, or the data has no labels.
    """
    run = Run.open(run_path)
    config = config or run.config()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = load(config.data, device)
    images = {"training images": splits.train, "test images": splits.require_test()}
    if any(evaluator.needs_labels for evaluator in EVALUATORS):
        images = dict(zip(images, splits.labelled(), strict=True))
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
    """The values of all evaluators for a backbone, by name. Images and backbone must be on the same device."""
    measured = {evaluator.name: evaluator.measure(vit, train, test, config) for evaluator in EVALUATORS}
    return {name: value for name, value in measured.items() if value is not None}
