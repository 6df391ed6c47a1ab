"""Fine-tune all weights with a linear classifier on the class token. Axes: B images, C classes."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from mrkd.config import EvaluationConfig, ViewsConfig
from mrkd.data.augment.views import ViewMaker, normalize
from mrkd.data.dataset import ImageDataset, in_order, readable_batches
from mrkd.data.load import stratified_split
from mrkd.data.sampler import BatchSampler
from mrkd.evaluation.classifiers.accuracy import accuracy
from mrkd.model.backbone import ViT
from mrkd.optim.schedules import warmup_cosine

NO_WEIGHT_DECAY = [f"0.{name}" for name in ("pos_embed", "cls_token", "reg_token")]
"""Parameters of the backbone without weight decay besides biases and norms: tokens and position embeddings."""


def finetune(
    vit: ViT,
    train: ImageDataset,
    *,
    classes: int,
    learning_rate: float,
    epochs: int,
    batch: int,
    views: ViewsConfig,
    seed: int,
) -> nn.Sequential:
    """Train a copy of the backbone and a linear classifier on labels, with random views.

    AdamW, weight decay 0.05, 10 % warm-up, cosine to zero. `learning_rate` is not scaled with the batch.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(copy.deepcopy(vit), nn.Linear(vit.embed_dim, classes)).to(train.device).train()
    model.requires_grad_(True)
    # Only matrices have weight decay, as in pre-training.
    optimizer = torch.optim.AdamW(param_groups_weight_decay(model, 0.05, NO_WEIGHT_DECAY), fused=True)
    maker = ViewMaker(views, train.size)
    labels = train.require_labels("fine-tuning")
    sampler = BatchSampler(images=len(train), batch=min(batch, len(train)), seed=seed)
    steps = epochs * sampler.steps_per_epoch
    for step, (rows, images) in enumerate(readable_batches(train, sampler.steps(0, steps))):
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(step, steps, max(1, steps // 10), learning_rate, 0.0)
        loss = F.cross_entropy(model(maker(images, views=1)[0][0]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return model


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A classifier, and how its learning rate was chosen."""

    model: nn.Sequential
    """The backbone, followed by the linear classifier."""
    learning_rate: float
    chosen_on: str
    """How the learning rate was chosen, in words, for the protocol."""


def fit(
    vit: ViT, train: ImageDataset, settings: EvaluationConfig, views: ViewsConfig, *, epochs: int, seed: int
) -> Fitted:
    """Fine-tune on all of `train`, with the learning rate that was best on a held-out part of it.

    With one candidate, or with too few labels to hold some out, the first candidate is used.
    """

    def train_on(images: ImageDataset, rate: float) -> nn.Sequential:
        return finetune(
            vit,
            images,
            classes=len(train.class_names),
            learning_rate=rate,
            epochs=epochs,
            batch=settings.finetune_batch,
            views=views,
            seed=seed,
        )

    rates = settings.finetune_learning_rates
    if len(rates) == 1:
        return Fitted(model=train_on(train, rates[0]), learning_rate=rates[0], chosen_on="fixed")
    rest, held_out = stratified_split(train, settings.heldout_fraction)
    if len(held_out) == 0:
        return Fitted(model=train_on(train, rates[0]), learning_rate=rates[0], chosen_on="fixed: too few labels")
    rate = max(rates, key=lambda candidate: accuracy(*predict(train_on(rest, candidate), held_out)))
    chosen_on = f"{len(held_out)} held-out training images"
    return Fitted(model=train_on(train, rate), learning_rate=rate, chosen_on=chosen_on)


@torch.no_grad()
def predict(model: nn.Module, images: ImageDataset) -> tuple[Tensor, Tensor]:
    """Class scores (n, C) of the images that can be read, and their labels (n,)."""
    labels = images.require_labels("fine-tuning")
    parts = [(model(normalize(pixels)), labels[rows]) for rows, pixels in readable_batches(images, in_order(images))]
    return torch.cat([scores for scores, _ in parts]), torch.cat([truth for _, truth in parts])
