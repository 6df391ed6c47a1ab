"""Training steps of other projects' code on ready views, for `step.py`. Nothing of theirs is kept here.

Each peer takes the same views and masks, the same network sizes, AdamW, gradient clipping and an EMA teacher.
Axes: V views, B images, R rows and C columns of patches.
"""

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Workload(NamedTuple):
    """What every contestant of one comparison gets."""

    views: Tensor
    """(V, B, 3, S, S), normalised."""
    masks: Tensor
    """(V, B, R, C) bool, True = masked."""
    width: int
    heads: int
    depth: int
    patch: int
    size: int
    prototypes: int
    bfloat16: bool


class MissingError(Exception):
    """This peer cannot take part, and why."""


Step = Callable[[], None]
HIDDEN, BOTTLENECK, CLIP, MOMENTUM = 2048, 256, 3.0, 0.996


def autocast(work: Workload) -> Any:
    return torch.autocast(work.views.device.type, torch.bfloat16, enabled=work.bfloat16)


def original_ibot(work: Workload, path: Path | None) -> Step:
    """`train_one_epoch` of the authors' own `main_ibot.py`, called on one batch at a time."""
    if path is None:
        raise MissingError("give --ibot PATH, a checkout of bytedance/ibot")
    main = _authors_main(path)
    size = {"img_size": [work.size], "patch_size": work.patch, "embed_dim": work.width, "depth": work.depth}
    shape = {**size, "num_heads": work.heads, "qkv_bias": True, "return_all_tokens": True}
    norm = _layer_norm()
    backbones = main.models.VisionTransformer
    head = main.iBOTHead
    student, teacher = (
        main.utils.MultiCropWrapper(
            backbones(**shape, norm_layer=norm, masked_im_modeling=masked),
            head(work.width, work.prototypes, patch_out_dim=work.prototypes, shared_head=True),
        )
        for masked in (True, False)
    )
    teacher.load_state_dict(student.state_dict(), strict=False)
    teacher.requires_grad_(False)
    device = work.views.device
    student, teacher = student.to(device), teacher.to(device)
    loss = main.iBOTLoss(work.prototypes, work.prototypes, 2, 0, 0.04, 0.07, 0.04, 0.07, 0, 1).to(device)
    optimizer = torch.optim.AdamW(main.utils.get_params_groups(student), lr=5e-4)
    options = types.SimpleNamespace(
        global_crops_number=2, use_masked_im_modeling=True, clip_grad=CLIP, freeze_last_layer=0, epochs=1
    )
    wrapped = _Module(student)
    batch = [(list(work.views), torch.zeros(work.views.shape[1], dtype=torch.long), list(work.masks))]

    def step() -> None:
        # Its own loop prints and ends with an evaluation on the host; neither is part of a step.
        with _quiet(), autocast(work):
            main.train_one_epoch(
                wrapped,
                teacher,
                teacher,
                loss,
                batch,
                optimizer,
                [5e-4],
                [0.04],
                [MOMENTUM],
                0,
                None,
                options,
            )

    return step


class _Module(nn.Module):
    """What DistributedDataParallel looks like to a training loop, without its cost."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        return self.module(*inputs, **settings)


def _layer_norm() -> Any:
    from functools import partial

    return partial(nn.LayerNorm, eps=1e-6)


def _authors_main(path: Path) -> Any:
    """Their script as a module: what it needs beyond torch is only for logging, so it is replaced by nothing."""
    for name in ("tensorboardX", "evaluation", "evaluation.unsupervised", "evaluation.unsupervised.unsup_cls"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["tensorboardX"].SummaryWriter = None  # type: ignore[attr-defined]
    sys.modules["evaluation.unsupervised.unsup_cls"].eval_pred = lambda *_, **__: (0, 0, 0, 0)  # type: ignore[attr-defined]
    if not torch.cuda.is_available():  # their loop moves everything to a GPU
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        torch.cuda.synchronize = lambda *_: None
    if not dist.is_initialized():
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    sys.path.insert(0, str(path))
    try:
        spec = importlib.util.spec_from_file_location("main_ibot", path / "main_ibot.py")
        if spec is None or spec.loader is None or not (path / "main_ibot.py").is_file():
            raise MissingError(f"{path} holds no main_ibot.py")
        main = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(main)
        # Averages of its meters over processes: there is one, and the exchange asks for a GPU.
        main.utils.MetricLogger.synchronize_between_processes = lambda self: None
    finally:
        sys.path.remove(str(path))
    return main


def _quiet() -> Any:
    import contextlib
    import io

    return contextlib.redirect_stdout(io.StringIO())


def lightly_ibot(work: Workload) -> Step:
    """lightly's masked ViT, heads and losses (DINO's and iBOT's, one head for both) in the order of its own example."""
    try:
        from lightly.loss import DINOLoss
        from lightly.loss.ibot_loss import IBOTPatchLoss
        from lightly.models.modules import DINOProjectionHead, MaskedVisionTransformerTIMM
        from lightly.models.utils import update_momentum
    except ImportError as error:
        raise MissingError(f"install the extra benchmarks ({error})") from None
    student, teacher = (MaskedVisionTransformerTIMM(_timm(work)) for _ in range(2))
    heads = [DINOProjectionHead(work.width, HIDDEN, BOTTLENECK, work.prototypes) for _ in range(2)]
    networks = nn.ModuleList([student, heads[0], teacher, heads[1]]).to(work.views.device)
    networks[2:].requires_grad_(False)
    dino = DINOLoss(work.prototypes, 0.04, 0.07, 0).to(work.views.device)
    ibot = IBOTPatchLoss(work.prototypes).to(work.views.device)
    trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4)
    flat, block_mask = work.views.flatten(0, 1), work.masks.flatten(0, 1)
    mask = torch.cat([block_mask.new_zeros(len(flat), 1), block_mask.flatten(1)], dim=1)

    def step() -> None:
        with autocast(work):
            with torch.no_grad():
                target = teacher.encode(flat)
                target_cls, target_patches = heads[1](target[:, 0]), heads[1](target[mask])
            tokens = student.encode(flat, mask=mask)
            cls, patches = heads[0](tokens[:, 0]), heads[0](tokens[mask])
            loss = dino(target_cls.chunk(2), cls.chunk(2), teacher_temp=0.07)
            loss = loss + ibot(target_patches, patches, block_mask, teacher_temp=0.07)
        _update(loss, optimizer, trained)
        update_momentum(student, teacher, MOMENTUM)
        update_momentum(heads[0], heads[1], MOMENTUM)

    return step


def solo_dino(work: Workload, path: Path | None) -> Step:
    """solo-learn's DINO: its head, loss and momentum update, every view in a pass of its own as in its method class."""
    if path is None:
        raise MissingError("give --solo PATH, a checkout of vturrisi/solo-learn")
    sys.path.insert(0, str(path))
    try:
        from solo.losses.dino import DINOLoss
        from solo.methods.dino import DINOHead
        from solo.utils.momentum import MomentumUpdater, initialize_momentum_params
    except ImportError as error:
        raise MissingError(f"install the extra benchmarks ({error})") from None
    finally:
        sys.path.remove(str(path))
    student, teacher = _timm(work), _timm(work)
    heads = [DINOHead(work.width, work.prototypes, use_bn=False) for _ in range(2)]
    pairs = [(student.to(work.views.device), teacher.to(work.views.device))]
    pairs.append((heads[0].to(work.views.device), heads[1].to(work.views.device)))
    for online, momentum in pairs:
        initialize_momentum_params(online, momentum)
    loss_function = DINOLoss(work.prototypes, 0.04, 0.07, 0, 1).to(work.views.device)
    updater = MomentumUpdater(MOMENTUM, MOMENTUM)
    trained = [*student.parameters(), *(p for p in heads[0].parameters() if p.requires_grad)]
    optimizer = torch.optim.AdamW(trained, lr=5e-4)

    def step() -> None:
        with autocast(work):
            online = [heads[0](student(view)) for view in work.views]
            with torch.no_grad():
                target = [heads[1](teacher(view)) for view in work.views]
            loss = loss_function(torch.cat(online), torch.cat(target))
        _update(loss, optimizer, trained)
        for pair in pairs:
            updater.update(*pair)

    return step


def _timm(work: Workload) -> Any:
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": work.size, "patch_size": work.patch, "embed_dim": work.width}
    return VisionTransformer(**sizes, depth=work.depth, num_heads=work.heads, num_classes=0)


def _update(loss: Tensor, optimizer: torch.optim.Optimizer, trained: Sequence[Tensor]) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, CLIP)
    optimizer.step()


def peers(work: Workload, ibot: Path | None, solo: Path | None) -> Iterator[tuple[str, Callable[[], Step]]]:
    """Name and builder of each peer."""
    yield "original iBOT", lambda: original_ibot(work, ibot)
    yield "lightly iBOT", lambda: lightly_ibot(work)
    yield "solo-learn DINO", lambda: solo_dino(work, solo)
