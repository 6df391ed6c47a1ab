"""Everything that one training step moves: networks, objective, optimizer and the random generators."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from mrkd.config import Config, Term
from mrkd.data.augment.masking import draw_masks
from mrkd.data.augment.views import GLOBAL_VIEWS, ViewMaker
from mrkd.data.transfer import to_device
from mrkd.distributed.fabric import AutocastForward
from mrkd.distributed.fsdp import full_state, shard_like, shard_optimizer_like
from mrkd.distributed.gather import (
    all_gather_step,
    all_reduce_sum,
    average_gradients,
    local_shard_of_views,
    local_slice,
)
from mrkd.errors import UserError
from mrkd.model.teacher_student import TeacherStudent
from mrkd.objective.checks import needs_of
from mrkd.objective.objective import Losses, Objective
from mrkd.objective.tokens import StepOutputs
from mrkd.optim.optimizers import make_optimizer
from mrkd.optim.schedules import cosine, linear_ramp, scaled_learning_rate, warmup_cosine
from mrkd.runs.checkpoint import random_state, set_random_state
from mrkd.runs.initial_weights import load_weights
from mrkd.train.profiling import Clock


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What came of one step."""

    outputs: StepOutputs
    losses: Losses
    gradient_norm: Tensor
    """() before clipping."""
    learning_rate: float
    teacher_temperature: float

    def numbers(self) -> dict[str, Tensor]:
        """What must be finite, by the name a person is told."""
        terms = {f"the term {name}": value for name, value in self.losses.by_term.items()}
        features = self.outputs.student.features.detach().float().sum()
        return {**terms, "the gradient's norm": self.gradient_norm, "the sum of the student's features": features}


class Learner:
    """Takes steps, and hands over or takes back all of its state.

    Args:
        config: of the run.
        terms: of the method, resolved.
        fabric: from `make_fabric`.
        steps: length of the run, on which every schedule depends.
    """

    def __init__(self, config: Config, terms: tuple[Term, ...], fabric: Fabric, steps: int) -> None:
        self.config, self.fabric, self.steps = config, fabric, steps
        self.precision = str(fabric.strategy.precision.precision)
        self.objective = Objective(config, terms)
        self.pair = TeacherStudent(config, needs_of(terms))
        self.weights_note = ""
        if config.model.weights is not None:
            self.weights_note = load_weights(self.pair.network.backbone.vit, config.model.weights)
            self.pair.reset_teacher()
        self.objective.to(fabric.device)
        if fabric.device.type == "cpu" and self.matrix_dtype is torch.bfloat16:
            self.pair.use_plain_attention()
        if config.train.compile:
            self.pair.compile_blocks()
        if config.train.sharded:
            self.pair.shard(fabric.device.type)
        fabric.setup(self.pair.network)
        self.optimizer = make_optimizer(self.pair.network, config.optim)
        self.pair.student = AutocastForward(self.pair.network, fabric)
        self.pair.teacher.to(fabric.device)
        self.view_maker = ViewMaker(config.views, config.data.size)
        self.mask_generator = torch.Generator().manual_seed(config.train.seed)
        self.peak_rate = scaled_learning_rate(config.optim, config.train.batch)
        self.clock = Clock()

    def profile(self) -> Clock:
        """Take the next steps apart."""
        self.clock = Clock(self.fabric.device)
        for network, name in ((self.pair.network, "student"), (self.pair.teacher, "teacher")):
            self.clock.watch(network.backbone, name)
            if network.head is not None:
                self.clock.watch(network.head, "head")
        return self.clock

    @property
    def matrix_dtype(self) -> torch.dtype:
        """In which the networks multiply matrices."""
        return torch.bfloat16 if self.precision.startswith("bf16") else torch.float32

    def training_step(self, images: Tensor, step: int) -> StepResult:
        """One training step: number `step`, counted from 0, on this device's uint8 images (b, 3, S, S)."""
        rate, temperature = self._schedule(step)
        skips = self.config.train.on_nonfinite == "skip"
        kept = [buffer.clone() for buffer in self._buffers()] if skips else None
        outputs = all_gather_step(self._forward(images))
        with self.clock.part("losses"):
            losses = self.objective(
                outputs,
                teacher_temperature=temperature,
                progress=step / self.steps,
                all_reduce_sum=all_reduce_sum,
            )
        norm = self._backward(losses.total, step)
        taken = StepResult(
            outputs=outputs,
            losses=losses,
            gradient_norm=norm,
            learning_rate=rate,
            teacher_temperature=temperature,
        )
        finite = torch.stack([value.float() for value in taken.numbers().values()]).isfinite().all()
        with self.clock.part("optimizer"):
            self.optimizer.step(skip=~finite)
            self.optimizer.zero_grad()
        if kept is not None:
            self._take_back_unless(finite, kept)
        with self.clock.part("EMA"):
            self.pair.update_teacher(cosine(step, self.steps, self.config.optim.ema, self.config.optim.final_ema))
        return taken

    def _forward(self, images: Tensor) -> StepOutputs:
        batch = self.config.train.batch
        # Every device draws for all images and keeps its share, so that their number changes nothing in the draws.
        with self.clock.part("augment"):
            views, local = self.view_maker(images, batch=batch, first=local_slice(batch).start)
        patch_mask, masked_index = self.draw_masks()
        with self.fabric.autocast():
            return self.pair(views, local, patch_mask, masked_index)

    def draw_masks(self) -> tuple[Tensor, Tensor]:
        """This device's masks (V, b, N) for the global views, and where they are True, flat; both on the device.

        The masked patches are found on the host, where masks are drawn: on the device it would have to wait for them.
        """
        shape = (GLOBAL_VIEWS, self.config.train.batch)
        mask = local_shard_of_views(draw_masks(shape, self.pair.grid, self.config.mask, self.mask_generator))
        device = self.fabric.device
        return to_device(mask, device), to_device(mask.flatten().nonzero().flatten(), device)

    def _backward(self, total: Tensor, step: int) -> Tensor:
        """Gradients, averaged over devices and clipped; their norm before clipping."""
        with self.clock.part("backward"):
            self.fabric.backward(total)
        if not self.config.train.sharded:  # shares of the gradient arrive averaged
            average_gradients(self.pair.network.parameters())
        head = self.pair.network.head
        if head is not None and step / self.steps < self.config.optim.freeze_prototypes:
            head.prototypes.grad = None
        # An infinite limit clips nothing and still measures.
        with self.clock.part("optimizer"):
            norm = clip_grad_norm_(self.optimizer.parameters(), self.config.optim.clip or math.inf)
        return full_state(norm)

    def _schedule(self, step: int) -> tuple[float, float]:
        """Set learning rate and weight decay; return the learning rate and the teacher's temperature."""
        optim, distillation = self.config.optim, self.config.distillation
        warmup_steps = max(1, round(optim.warmup * self.steps))
        rate = warmup_cosine(step, self.steps, warmup_steps, self.peak_rate, optim.final_learning_rate)
        self.optimizer.set_schedule(rate, cosine(step, self.steps, optim.weight_decay, optim.final_weight_decay))
        temperature = linear_ramp(
            step,
            self.steps,
            distillation.teacher_temperature_warmup,
            distillation.teacher_temperature_start,
            distillation.teacher_temperature,
        )
        return rate, temperature

    def _buffers(self) -> list[Tensor]:
        """What a forward pass moves by itself: BatchNorm's statistics, centres, factors of gradient norm ratios."""
        return [*self.pair.network.buffers(), *self.objective.buffers()]

    def _take_back_unless(self, finite: Tensor, kept: list[Tensor]) -> None:
        for buffer, before in zip(self._buffers(), kept, strict=True):
            buffer.copy_(torch.where(finite, buffer, before))

    def draws(self) -> dict[str, Any]:
        """Where the random generators stand."""
        return random_state(self.mask_generator)

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, in whole tensors and plain values; all processes must call it."""
        return {
            "student": full_state(self.pair.network.state_dict()),
            "teacher": full_state(self.pair.teacher.state_dict()),
            "objective": self.objective.state_dict(),
            "optimizer": full_state(self.optimizer.state_dict()),
            "random": self.draws(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state back, strictly.

        Raises:
            UserError: it is not the state of such a network, objective and optimizer.
        """
        try:
            for network, name in ((self.pair.network, "student"), (self.pair.teacher, "teacher")):
                network.load_state_dict(shard_like(state[name], network))
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(shard_optimizer_like(state["optimizer"], self.optimizer.parameters()))
            set_random_state(state["random"], self.mask_generator)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"the checkpoint does not fit this config: {' '.join(str(error).split())[:300]}") from None
