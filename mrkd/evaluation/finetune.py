"""Fine-tune every weight from the class token. Axes: B images, C classes."""

import copy

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mrkd.config import OptimConfig, ViewsConfig
from mrkd.data.loader import epoch_batches
from mrkd.data.sources import ImageSet
from mrkd.data.views import ViewMaker, normalize
from mrkd.optim import make_optimizer, set_schedule, warmup_cosine


def finetune(
    vit: VisionTransformer,
    train: ImageSet,
    *,
    classes: int,
    learning_rate: float,
    epochs: int,
    batch: int,
    views: ViewsConfig,
    seed: int,
) -> nn.Module:
    """A copy of the backbone with a linear classifier, trained on labels with the run's own random crops.

    AdamW, weight decay 0.05, 10 % warm-up, cosine to zero; `learning_rate` is used as it is, not scaled.
    """
    torch.manual_seed(seed)
    device = train.images.device
    size = train.images.shape[-1]
    model = nn.Sequential(copy.deepcopy(vit), nn.Linear(vit.embed_dim, classes)).to(device).train()
    model.requires_grad_(True)
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.05))
    maker = ViewMaker(views, size)
    labels = train.require_labels("fine-tuning")
    batch = min(batch, len(train))
    steps = epochs * (len(train) // batch)
    step = 0
    for epoch in range(epochs):
        for order in epoch_batches(len(train), batch, seed=seed, epoch=epoch):
            index = order.to(device)
            set_schedule(optimizer, warmup_cosine(step, steps, max(1, steps // 10), learning_rate, 0.0), 0.05)
            images = maker(train.images[index], views=1)[0][0]
            loss = F.cross_entropy(model(images), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch: int = 512) -> Tensor:
    """Class scores (n, C) of uint8 images (n, 3, S, S)."""
    return torch.cat([model(normalize(part)) for part in images.split(batch)])
