"""Who runs in `race.py`: a function that trains on a task and shows its features now and then.

Axes: B images, S pixels, D width. Peers get the images decoded once, which is less work than their own loaders do.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

Features = Callable[[Tensor], Tensor]
"""uint8 images (B, 3, S, S) -> (B, D)."""
Observe = Callable[[Features], None]
"""To be called with the present features as often as wanted; its own time is taken off the clock."""
TIMES = 12
"""Observations of a run; a target counts as reached at the first that reaches it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all contestants are given."""

    source: str
    images: int
    epochs: int
    seed: int
    size: int = 32

    @property
    def data(self) -> Any:
        """Nothing decoded is kept from run to run, and a fifth of the training images is held out."""
        from mrkd.config import DataConfig

        return DataConfig(
            source=self.source, size=self.size, train_images=self.images, holdout="validation", cache=None
        )


def ours(task: Task, observe: Observe, method: str) -> None:
    """Recipe `cifar10-cpu` with Muon, as `mrkd pretrain` runs it; the race looks where training looks itself."""
    import dataclasses

    import mrkd
    from mrkd.config.overrides import build, load_recipe
    from mrkd.data.augment.views import normalize
    from mrkd.model.teacher_student import TeacherStudent
    from mrkd.train import loop
    from mrkd.train.monitor import FeatureMonitor

    class Monitor(FeatureMonitor):
        def measure(self, pair: TeacherStudent) -> dict[str, float]:
            vit = pair.teacher_vit().eval()
            with torch.compiler.set_stance("force_eager"):
                observe(lambda images: vit.forward_features(normalize(images))[:, 0].float())
            return super().measure(pair)

    settings = {"objective.method": method, "optim.name": "muon", "train.epochs": task.epochs, "train.seed": task.seed}
    config = build({**load_recipe("cifar10-cpu"), **settings, "train.monitor_times": TIMES})
    with mock.patch.object(loop, "FeatureMonitor", Monitor), tempfile.TemporaryDirectory() as folder:
        mrkd.pretrain(dataclasses.replace(config, data=task.data), Path(folder) / "run")


def _vit(task: Task) -> tuple[nn.Module, int]:
    """The network of the recipe `cifar10-cpu`, from timm."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=task.size, patch_size=8, embed_dim=96, depth=3, num_heads=4, num_classes=0), 96


def _resnet(task: Task) -> tuple[nn.Module, int]:
    """lightly's ResNet-18 for CIFAR-10, of its benchmark, pooled."""
    from lightly.models import ResNetGenerator

    blocks = list(ResNetGenerator("resnet-18").children())[:-1]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 512


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a peer is optimised."""

    batch: int
    learning_rate: float
    sgd: bool


VIT = Recipe(batch=128, learning_rate=5e-4 * 128 / 256, sgd=False)
"""lightly's and DINO's for ViTs: AdamW, 5e-4 for a batch of 256, weight decay 0.04, a tenth of warm-up, cosine."""
RESNET = Recipe(batch=128, learning_rate=6e-2, sgd=True)
"""Of lightly's CIFAR-10 benchmark: SGD, 0.06 for a batch of 128, momentum 0.9, weight decay 5e-4, cosine."""


def _train(
    task: Task, observe: Observe, recipe: Recipe, transform: Any, trained: nn.Module, backbone: nn.Module, step: Any
) -> None:
    """`step` makes a loss of the views of a batch; the rest is the same for all peers."""
    from torchvision.transforms.functional import to_pil_image

    from mrkd.data.load import load
    from mrkd.optim.schedules import warmup_cosine

    images = [to_pil_image(image) for image in load(task.data).train.in_memory().images]
    parameters = [one for one in trained.parameters() if one.requires_grad]
    optimizer: torch.optim.Optimizer
    if recipe.sgd:
        optimizer = torch.optim.SGD(parameters, momentum=0.9, weight_decay=5e-4)
    else:
        optimizer = torch.optim.AdamW(parameters, weight_decay=0.04)
    each = len(images) // recipe.batch
    steps, warmup = each * task.epochs, 0 if recipe.sgd else each * task.epochs // 10
    every = max(1, steps // TIMES)

    def features(pixels: Tensor) -> Tensor:
        backbone.eval()
        found = backbone((pixels.float() / 255 - _MEAN) / _STD)
        backbone.train()
        return found

    for number in range(steps):
        if number % each == 0:
            order = torch.randperm(len(images)).tolist()
        rows = order[number % each * recipe.batch :][: recipe.batch]
        views = [torch.stack(view) for view in zip(*(transform(images[row]) for row in rows), strict=True)]
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(number, steps, warmup, recipe.learning_rate, 0.0)
        loss = step(views, number / steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 3.0)
        optimizer.step()
        if (number + 1) % every == 0:
            observe(features)


_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
"""lightly's transforms normalise by these."""


def lightly_simclr(task: Task, observe: Observe, network: Any, recipe: Recipe) -> None:
    """SimCLR of lightly's CIFAR-10 benchmark: its views, head and loss."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    torch.manual_seed(task.seed)
    backbone, width = network(task)
    head = SimCLRProjectionHead(width, width, 128)
    loss = NTXentLoss()
    transform = SimCLRTransform(input_size=task.size, cj_strength=0.5, gaussian_blur=0.0)

    def step(views: list[Tensor], progress: float) -> Tensor:
        return loss(*(head(backbone(view)) for view in views))

    _train(task, observe, recipe, transform, nn.ModuleList([backbone, head]), backbone, step)


def lightly_dino(task: Task, observe: Observe) -> None:
    """DINO of lightly's CIFAR-10 benchmark on the ViT: two global views, its head, loss and EMA."""
    import copy

    from lightly.loss import DINOLoss
    from lightly.models.modules import DINOProjectionHead
    from lightly.models.utils import update_momentum
    from lightly.transforms import DINOTransform
    from lightly.utils.scheduler import cosine_schedule

    torch.manual_seed(task.seed)
    backbone, width = _vit(task)
    student = nn.Sequential(backbone, DINOProjectionHead(width, 2048, 256, 2048, batch_norm=True))
    teacher = copy.deepcopy(student).requires_grad_(False)
    loss = DINOLoss(output_dim=2048)
    transform = DINOTransform(
        global_crop_size=task.size, n_local_views=0, cj_strength=0.5, gaussian_blur=(0.0, 0.0, 0.0)
    )

    def step(views: list[Tensor], progress: float) -> Tensor:
        update_momentum(student, teacher, cosine_schedule(int(1000 * progress), 1000, 0.99, 1.0))
        with torch.no_grad():
            targets = [teacher(view) for view in views]
        return loss(targets, [student(view) for view in views], epoch=int(progress * task.epochs))

    _train(task, observe, VIT, transform, student, teacher[0], step)


CONTESTANTS: dict[str, Callable[[Task, Observe], None]] = {
    "structural": lambda task, observe: ours(task, observe, "structural"),
    "ibot": lambda task, observe: ours(task, observe, "ibot"),
    "lightly-simclr": lambda task, observe: lightly_simclr(task, observe, _vit, VIT),
    "lightly-dino": lightly_dino,
    "lightly-simclr-resnet18": lambda task, observe: lightly_simclr(task, observe, _resnet, RESNET),
}
"""By name; the order in which they run."""
