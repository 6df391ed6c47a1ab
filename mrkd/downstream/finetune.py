"""Fine-tune a backbone on labels, and compare it with the same network trained from random weights."""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import timm
import torch
from torch import nn

from mrkd.config import Config
from mrkd.config.overrides import with_other_data
from mrkd.data.dataset import ImageDataset
from mrkd.data.load import AnyDataset, load
from mrkd.data.sources.memory import Images, name_source
from mrkd.errors import UserError
from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.evaluation.classifiers.finetuning import fit, predict
from mrkd.exporting.hub import hub_config
from mrkd.model.backbone import ViT, create_vit, timm_arguments
from mrkd.runs.weights import load_backbone, open_run, save_tensors
from mrkd.system.files import placed_when_good, write_json
from mrkd.system.progress import Bar

RATES = (3e-4, 1e-3, 3e-3)
"""Candidates of AdamW's peak learning rate."""

LEAST_STEPS = 200
"""A fine-tuning lasts at least so many steps: ten epochs over a dozen images would teach nothing."""


def finetune(
    run_path: str | os.PathLike[str],
    data: Images | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    few: float | None = None,
    seeds: Sequence[int] = (0,),
    rates: Sequence[float] = RATES,
    scratch: bool = True,
    checkpoint: str = "backbone",
    config: Config | None = None,
) -> dict[str, Any]:
    """Train a classifier on labels, all weights, and score it on the test split.

    Args:
        run_path: a directory written by `pretrain`.
        data: any labelled source that `--data` takes, or labelled images as for `embed`; the run's own when None.
        out: a new directory for `results.json` and the first seed's classifier, `config.json` and `model.safetensors`,
            which `timm.create_model("local-dir:...", pretrained=True)` opens; nothing is written when None.
        few: use this part of the labels of each class (below 1), or so many labels of each class; all when None.
        seeds: of the classifier, the order, the views, the random weights, and of which labels are used with `few`.
        rates: candidate learning rates; for each backbone and seed, one is chosen on training images held out.
        scratch: also fine-tune the same network from random weights.
        checkpoint: `backbone`, the result of the training; `best`, `last` or a step for one of its checkpoints.
        config: the run's own when None; given, its `data` and `evaluation` sections are used.
    Returns:
        `pretrained` and, unless left out, `scratch`: per figure mean, std over seeds, and values, in percent; with the
        protocol.
    Raises:
        UserError: no such run or source, no labels, or `out` exists.
    """
    _check(few, seeds, rates, out)
    run = open_run(run_path, checkpoint)
    config = config or run.config()
    if data is not None:
        source, _held = name_source(data, config.data)  # `_held` keeps images that were given in Python
        config = with_other_data(config, source)
    evaluation = dataclasses.replace(config.evaluation, finetune_learning_rates=tuple(rates))
    config = dataclasses.replace(config, evaluation=evaluation)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = load(config.data, device)
    train, test = splits.labelled("fine-tuning")
    task = _Task(config=config, train=train, test=test, few=few)
    kinds = ["pretrained", "scratch"] if scratch else ["pretrained"]
    scores: dict[str, list[_Score]] = {kind: [] for kind in kinds}
    classifier: nn.Sequential | None = None  # of the first seed, which is the one that is written
    with Bar(f"fine-tune {splits.name}", len(kinds) * len(seeds)) as bar:
        for seed in seeds:
            for kind in kinds:
                vit = load_backbone(run, checkpoint) if kind == "pretrained" else _random_vit(config, seed)
                score, model = task.score(vit.to(device), seed)
                classifier = classifier or model
                scores[kind].append(score)
                bar.advance(f"{kind} seed {seed}: {scores[kind][-1].acc1:.1f} %")
    results: dict[str, Any] = {kind: _summarize(found) for kind, found in scores.items()}
    results["data"] = {
        "source": config.data.source,
        "labels": len(task.labelled(seeds[0])),
        "train_images": len(train),
        "test_images": scores["pretrained"][0].scored,
        "scored_on": config.data.holdout,
        "classes": len(train.class_names),
    }
    results["protocol"] = {
        **task.protocol(),
        "few": few,
        "seeds": list(seeds),
        "checkpoint": checkpoint,
    }
    if out is not None:
        assert classifier is not None
        _save(Path(out), classifier, config, train.class_names, results)
    return results


def _check(few: float | None, seeds: Sequence[int], rates: Sequence[float], out: str | os.PathLike[str] | None) -> None:
    if few is not None and (few <= 0 or (few >= 1 and few != int(few))):
        raise UserError(f"few must be a fraction below 1, or a whole number of labels per class, got {few}")
    if not seeds or not rates or min(rates) <= 0:
        raise UserError("fine-tuning needs at least one seed and one learning rate above 0")
    if out is not None and Path(out).exists():
        raise UserError(f"{out} exists: choose another --out")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Score:
    learning_rate: float
    chosen_on: str
    scored: int
    """Test images that could be read."""
    acc1: float
    acc5: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
    """Labels to learn and images to be scored on; the same for every backbone."""

    config: Config
    train: ImageDataset
    test: ImageDataset
    few: float | None
    """See `finetune`."""

    def labelled(self, seed: int) -> ImageDataset:
        """The training images whose labels are used."""
        return self.train if self.few is None else few_per_class(self.train, self.few, seed)

    def epochs(self, images: int) -> int:
        """As configured, or more where that would be a handful of steps."""
        settings = self.config.evaluation
        steps_each = images // min(settings.finetune_batch, images)
        return max(settings.finetune_epochs, math.ceil(LEAST_STEPS / steps_each))

    def score(self, vit: ViT, seed: int) -> tuple[_Score, nn.Sequential]:
        """Fine-tune one backbone and measure it on the test split."""
        images = self.labelled(seed)
        settings = self.config.evaluation
        fitted = fit(vit, images, settings, settings.augmentation, epochs=self.epochs(len(images)), seed=seed)
        votes, truth = predict(fitted.model, self.test)
        score = _Score(
            learning_rate=fitted.learning_rate,
            chosen_on=fitted.chosen_on,
            scored=len(truth),
            acc1=accuracy(votes, truth),
            acc5=accuracy(votes, truth, 5),
        )
        return score, fitted.model

    def protocol(self) -> dict[str, Any]:
        """What was the same for all."""
        settings = self.config.evaluation
        return {
            "epochs": self.epochs(len(self.labelled(0))),
            "batch": settings.finetune_batch,
            "candidates": list(settings.finetune_learning_rates),
            "optimizer": "AdamW",
        }


def few_per_class(images: AnyDataset, few: float, seed: int) -> AnyDataset:
    """`few` of the images of every class, at least one: a fraction below 1, or a number.

    Args:
        images: labelled.
        few: fraction or number.
        seed: of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = images.require_labels("choosing a few labels").cpu()
    chosen = []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = max(1, round(few * len(members))) if few < 1 else int(few)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return images.take(torch.cat(chosen).sort().values.to(images.device))


def _random_vit(config: Config, seed: int) -> ViT:
    torch.manual_seed(seed)
    return create_vit(config.model, config.data.size)


def _summarize(found: Sequence[_Score]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name in ("acc1", "acc5"):
        values = [getattr(score, name) for score in found]
        summary[name] = {
            "mean": fmean(values),
            "std": stdev(values) if len(values) > 1 else None,
            "values": values,
        }
    summary["learning_rates"] = [score.learning_rate for score in found]
    summary["chosen_on"] = found[0].chosen_on
    return summary


def _save(out: Path, model: nn.Sequential, config: Config, class_names: Sequence[str], results: dict[str, Any]) -> None:
    """The classifier as one timm network, read back and compared before it is put in place."""
    vit, linear = model
    assert isinstance(vit, ViT)
    state = {**vit.state_dict(), "head.weight": linear.weight, "head.bias": linear.bias}
    name, arguments = timm_arguments(config.model, config.data.size)
    settings = hub_config(name, arguments, size=config.data.size, features=vit.num_features, class_names=class_names)
    with placed_when_good(out) as temporary:
        temporary.mkdir()
        save_tensors(state, temporary / "model.safetensors", {"format": "pt"})
        write_json(temporary / "config.json", settings)
        write_json(temporary / "results.json", results)
        again = timm.create_model(f"local-dir:{temporary}", pretrained=True).eval()
        images = torch.rand(2, 3, config.data.size, config.data.size)
        with torch.no_grad():
            difference = (again(images) - model.cpu()(images)).abs().max().item()
        if not difference <= 1e-5:
            raise UserError(f"the classifier read back gives other scores, by {difference:.1e}; nothing was written")
