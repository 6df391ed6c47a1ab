"""lightly 1.6 as its own benchmarks use it (github.com/lightly-ai/lightly, read at commit e8d317f).

CIFAR: docs/source/getting_started/benchmarks/cifar10_benchmark.py, a ResNet-18 for 200 or 800 passes, lists batches of
128 and 512; 128 is the script's own, its k-NN is the same or better, and it has four times the steps in a short run.
VIT: benchmarks/imagenet/vitb16/dino.py, which follows facebookresearch/dino (main_dino.py at 7c446df).

Ours, all in the peers' favour or for want of a documented value: the number of passes; images decoded once and kept as
PIL images, where lightly decodes files in every pass; warm-up over a tenth of the run, as 10 are of the 100 passes of
VIT, which would be most of a short run; no stochastic depth in three blocks (VIT has 0.1).
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from contestants.task import Observe, Task

BATCH = 128
"""CIFAR's and, for each device, VIT's."""
WIDTH = 96
"""Of the ViT of recipe `cifar10-cpu`."""


class Views(Dataset[list[Tensor]]):
    """The views of each image, drawn anew in every pass."""

    def __init__(self, images: list[Image], transform: Callable[[Image], list[Tensor]]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return self.transform(self.images[index])


class Optimization:
    """An optimizer, whose schedules are in subclasses."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def end_epoch(self) -> None:
        """For schedules that change with the pass."""


Optimize = Callable[[int], Optimization]
"""Number of steps -> optimizer."""


class Sgd(Optimization):
    """CIFAR's: rate 0.06 for a batch of 128, scaled with the batch; a cosine with one value for each pass."""

    def __init__(self, modules: list[nn.Module], task: Task) -> None:
        parameters = [one for module in modules for one in module.parameters()]
        super().__init__(torch.optim.SGD(parameters, lr=6e-2 * BATCH / 128, momentum=0.9, weight_decay=5e-4))
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, task.epochs)

    def end_epoch(self) -> None:
        self.schedule.step()


class AdamW(Optimization):
    """VIT's: rate 0.0005 for a batch of 256, scaled with the batch, a cosine after the warm-up; decay of 0.04 to 0.4.

    `rate_factor` multiplies the rate: at 8 it is 0.004, which our recipe has for this network and number of passes.
    """

    def __init__(self, modules: list[nn.Module], steps: int, rate_factor: float) -> None:
        from lightly.models.utils import get_weight_decay_parameters
        from lightly.utils.scheduler import CosineWarmupScheduler

        decayed, others = get_weight_decay_parameters(modules)
        groups = [{"params": decayed, "weight_decay": 0.04}, {"params": others, "weight_decay": 0.0}]
        super().__init__(torch.optim.AdamW(groups, lr=rate_factor * 5e-4 * BATCH / 256))
        self.schedule = CosineWarmupScheduler(self.optimizer, warmup_epochs=steps // 10, max_epochs=steps)
        self.taken, self.steps = 0, steps

    def step(self, loss: Tensor) -> None:
        from lightly.utils.scheduler import cosine_schedule

        self.optimizer.param_groups[0]["weight_decay"] = cosine_schedule(self.taken, self.steps, 0.04, 0.4)
        super().step(loss)
        self.schedule.step()
        self.taken += 1


@dataclass(frozen=True, kw_only=True)
class Training:
    """A peer's network, views and loss."""

    backbone: nn.Module
    """Whose features are observed."""
    transform: Callable[[Image], list[Tensor]]
    loss: Callable[[list[Tensor]], Tensor]
    """Of the views of a batch, each (B, 3, S, S)."""


def _train(task: Task, observe: Observe, training: Training, optimize: Optimize) -> None:
    """Every pass over all whole batches."""
    from lightly.transforms.utils import IMAGENET_NORMALIZE
    from torchvision.transforms.functional import normalize, to_pil_image

    from mrkd.data.load import load

    def features(pixels: Tensor) -> Tensor:
        was_training = training.backbone.training
        found = training.backbone.eval()(normalize(pixels.float() / 255, **IMAGENET_NORMALIZE))
        training.backbone.train(was_training)
        return found

    images = [to_pil_image(image) for image in load(task.data).train.in_memory().images]
    loader = DataLoader(Views(images, training.transform), batch_size=BATCH, shuffle=True, drop_last=True)
    optimization = optimize(len(loader) * task.epochs)
    observe(features)
    for _ in range(task.epochs):
        for views in loader:
            optimization.step(training.loss(views))
        optimization.end_epoch()
        observe(features)


def _seed(seed: int) -> None:
    """As CIFAR's seed_everything."""
    random.seed(seed)
    np.random.seed(seed)  # lightly's transforms draw from it
    torch.manual_seed(seed)


def _vit() -> nn.Module:
    """The network of recipe `cifar10-cpu`, from timm; its output is the class token, as in VIT."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=32, patch_size=8, embed_dim=WIDTH, depth=3, num_heads=4, num_classes=0)


def _simclr(task: Task, observe: Observe, backbone: nn.Module, head: nn.Module, optimize: Optimize) -> None:
    """CIFAR's SimCLR: views, loss at its default temperature of 0.5."""
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    criterion = NTXentLoss()
    training = Training(
        backbone=backbone,
        transform=SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0),
        loss=lambda views: criterion(*(head(backbone(view)) for view in views)),
    )
    _train(task, observe, training, optimize)


def simclr_resnet(task: Task, observe: Observe) -> None:
    """CIFAR's SimCLR on CIFAR's ResNet-18, optimised as there: nothing but the number of passes is ours."""
    from lightly.models import ResNetGenerator
    from lightly.models.modules import SimCLRProjectionHead

    _seed(task.seed)
    blocks = list(ResNetGenerator("resnet-18").children())[:-1]
    backbone = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = SimCLRProjectionHead(512, 512, 128)
    _simclr(task, observe, backbone, head, lambda steps: Sgd([backbone, head], task))


def simclr_vit(task: Task, observe: Observe, *, rate_factor: float = 1.0) -> None:
    """CIFAR's SimCLR on our recipe's ViT, optimised as VIT; a combination of ours, as lightly documents none."""
    from lightly.models.modules import SimCLRProjectionHead

    _seed(task.seed)
    backbone, head = _vit(), SimCLRProjectionHead(WIDTH, 512, 128)
    _simclr(task, observe, backbone, head, lambda steps: AdamW([backbone, head], steps, rate_factor))


def dino_vit(task: Task, observe: Observe, *, rate_factor: float = 1.0) -> None:
    """CIFAR's DINO on our recipe's ViT, optimised as VIT.

    CIFAR's: two views of at least 0.4 of the image, a head of two layers with BatchNorm and 2,048 prototypes, momentum
    0.99, temperature 0.04. VIT's: AdamW and its schedules, features of the teacher. VIT's momentum (0.996 to 1), 65,536
    prototypes and 8 local views are for runs of 100 passes over ImageNet.
    """
    from lightly.loss import DINOLoss
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import DINOTransform

    _seed(task.seed)
    backbone, head = _vit(), _dino_head()
    student = nn.Sequential(backbone, head)
    teacher = nn.Sequential(copy.deepcopy(backbone), _dino_head())  # CIFAR's teacher has a head drawn anew
    deactivate_requires_grad(teacher)
    criterion = DINOLoss(output_dim=2048)

    def loss(views: list[Tensor]) -> Tensor:
        update_momentum(student, teacher, m=0.99)
        return criterion([teacher(view) for view in views], [student(view) for view in views])

    transform = DINOTransform(global_crop_size=32, n_local_views=0, cj_strength=0.5, gaussian_blur=(0, 0, 0))
    training = Training(backbone=teacher[0], transform=transform, loss=loss)
    _train(task, observe, training, lambda steps: AdamW([backbone, head], steps, rate_factor))


def _dino_head() -> nn.Module:
    """CIFAR's, for the ViT's width."""
    from lightly.models.modules import DINOProjectionHead
    from lightly.models.modules.heads import ProjectionHead

    head = DINOProjectionHead(WIDTH, 2048, 256, 2048, batch_norm=True)
    blocks = [(WIDTH, 2048, nn.BatchNorm1d(2048), nn.GELU()), (2048, 256, None, None)]
    head.layers = ProjectionHead(blocks).layers
    return head
