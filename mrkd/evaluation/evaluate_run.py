"""Run the evaluators on a run, and compute the map of its test images."""

import os
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.augment.views import normalize
from mrkd.data.dataset import ImageDataset
from mrkd.data.load import load
from mrkd.errors import UserError
from mrkd.evaluation.embedding import FEWEST_ON_MAP, embedding_map
from mrkd.evaluation.evaluators import wanted
from mrkd.evaluation.features import FeatureSet, compute_features, extract_features
from mrkd.model.backbone import ViT
from mrkd.model.frozen_teacher import FrozenTeacher
from mrkd.runs.comparability import measurement_settings
from mrkd.runs.load_teacher import open_teacher
from mrkd.runs.npz import write_npz
from mrkd.runs.run import EMBEDDING, EVALUATION, SUMMARY, RunDirectory
from mrkd.runs.weights import load_backbone
from mrkd.system.files import read_json, write_json
from mrkd.system.output import say


def evaluate(run_path: str | os.PathLike[str], config: Config | None = None) -> dict[str, Any]:
    """Evaluate the teacher's backbone of a run; write `evaluation.json`, and `embedding.npz`, a map of test images.

    Args:
        run_path: a directory written by `pretrain`.
        config: its `data` and `evaluation` sections are used; None for the run's own config.
    Returns:
        The content of `evaluation.json`: for each evaluator its results and protocol.
    Raises:
        UserError: there is no finished run, the data has no labels, or `evaluation.more` has an unknown name.
    """
    run = RunDirectory.open(run_path)
    config = config or run.config()
    evaluators = wanted(config.evaluation.more)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = load(config.data, device)
    images = {"training images": splits.train, "test images": splits.require_test()}
    if any(evaluator.needs_labels for evaluator in evaluators):
        images = dict(zip(images, splits.labelled(), strict=True))
    vit = load_backbone(run).to(device)
    started = time.monotonic()
    train, test = (extract_features(vit, part, title=f"features of {title}") for title, part in images.items())
    results = measure(vit, train, test, config)
    if (teacher := measure_teacher(run, config, images)) is not None:
        results["teacher"] = teacher
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


def measure_teacher(run: RunDirectory, config: Config, images: Mapping[str, ImageDataset]) -> dict[str, Any] | None:
    """What the frozen teacher is that the run learnt from, and its figures on the same images; None without one.

    Figures that need more than features are left out. Where it is gone or has other weights now, a line says so.
    """
    learnt_from = read_json(run.path / SUMMARY).get("teacher")
    if learnt_from is None:
        return None
    try:
        trained = open_teacher(run.config().teacher)
    except UserError as error:
        say(f"the teacher is not measured: {error}")
        return None
    if trained.sha256 != learnt_from["sha256"]:
        say(f"the teacher is not measured: {learnt_from['source']} holds other weights now")
        return None
    frozen = FrozenTeacher(trained, view_size=config.data.size, size=learnt_from["size"], grid=(1, 1))
    frozen.to(images["training images"].device)

    def embed(pixels: Tensor) -> Tensor:
        return frozen.embed(normalize(pixels))

    train, test = (
        compute_features(part, embed, width=frozen.width, title=f"the teacher's features of {title}")
        for title, part in images.items()
    )
    measured = {
        evaluator.name: evaluator.measure(frozen.network, train, test, config)
        for evaluator in wanted(config.evaluation.more)
        if evaluator.of_features
    }
    return {**learnt_from, **{name: value for name, value in measured.items() if value is not None}}


def measure(vit: ViT, train: FeatureSet, test: FeatureSet, config: Config) -> dict[str, Any]:
    """The values of all wanted evaluators for a backbone, by name. Images and backbone must be on the same device."""
    evaluators = wanted(config.evaluation.more)
    measured = {evaluator.name: evaluator.measure(vit, train, test, config) for evaluator in evaluators}
    return {name: value for name, value in measured.items() if value is not None}
