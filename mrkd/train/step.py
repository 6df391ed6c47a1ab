"""One training step, and the state that it changes: networks, objective, optimizer and random generators."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from mrkd.config import Config, Term
from mrkd.data.augment.masking import draw_masks
from mrkd.data.augment.views import GLOBAL_VIEWS, ViewMaker
from mrkd.data.transfer import to_device
from mrkd.distributed.fabric import AutocastForward
from mrkd.distributed.fabric_package import Fabric
from mrkd.distributed.fsdp import full_state, shard_like, shard_optimizer_like
from mrkd.distributed.gather import (
    all_gather_step,
    all_reduce_sum,
    average_gradients,
    local_shard_of_views,
    local_slice,
)
from mrkd.errors import UserError
from mrkd.objective.objective import Losses, Objective
from mrkd.objective.tokens import StepOutputs
from mrkd.optim.optimizers import make_optimizer
from mrkd.optim.schedules import cosine, linear_ramp, scaled_learning_rate, warmup_cosine
from mrkd.runs.checkpoint import random_state, set_random_state
from mrkd.train.networks import make_pair
from mrkd.train.profiling import FROZEN_TEACHER, Clock


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step computed."""

    outputs: StepOutputs
    losses: Losses
    gradient_norm: Tensor
    """() before clipping."""
    learning_rate: float
    teacher_temperature: float

    def numbers(self) -> dict[str, Tensor]:
        """The numbers that must be finite, by their names in messages."""
        terms = {f"the term {name}": value for name, value in self.losses.by_term.items()}
        features = self.outputs.student.features.detach().float().sum()
        return {**terms, "the gradient's norm": self.gradient_norm, "the sum of the student's features": features}

    def finite(self) -> Tensor:
        """() bool on the device: whether all `numbers` are finite."""
        return torch.stack([value.float() for value in self.numbers().values()]).isfinite().all()


class Learner:
    """The networks, objective, optimizer and random generators of a run: takes steps, saves and loads their state.

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
        self.pair, self.weights_note = make_pair(config, terms)
        self.objective.make_queues(self.pair.target_width)
        self.objective.place_on(fabric.device)
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
        if self.pair.frozen is not None:
            self.pair.frozen.to(fabric.device)
        self.view_maker = ViewMaker(config.views, config.data.size)
        self.mask_generator = torch.Generator().manual_seed(config.train.seed)
        self.peak_rate = scaled_learning_rate(config.optim, config.train.batch)
        self.clock = Clock()

    def profile(self) -> Clock:
        """Time the parts of the next steps."""
        self.clock = Clock(self.fabric.device)
        for network, name in ((self.pair.network, "student"), (self.pair.teacher, "teacher")):
            self.clock.watch(network.backbone, name)
            if network.head is not None:
                self.clock.watch(network.head, "head")
        if self.pair.frozen is not None:
            self.clock.watch(self.pair.frozen, FROZEN_TEACHER)
        return self.clock

    @property
    def matrix_dtype(self) -> torch.dtype:
        """In which the networks multiply matrices."""
        return torch.bfloat16 if self.precision.startswith("bf16") else torch.float32

    def training_step(self, images: Tensor, step: int) -> StepResult:
        """One step, from images to the updated teacher.

        Args:
            images: (b, 3, S, S) uint8, this device's part of the batch.
            step: its number, counted from 0.
        """
        train, part = self.config.train, self.clock.part
        learning_rate, teacher_temperature = self._set_schedules(step)
        buffers_before = [buffer.clone() for buffer in self._buffers()] if train.on_nonfinite == "skip" else None

        with part("augment"):
            # Every device draws for the whole batch and keeps its part: the draws do not depend on their number.
            views, local_views = self.view_maker(images, batch=train.batch, first=local_slice(train.batch).start)
        patch_mask, masked_index = self.draw_masks()
        with self.fabric.autocast():
            local_outputs = self.pair(views, local_views, patch_mask, masked_index)
        outputs = all_gather_step(local_outputs)
        with part("losses"):
            losses = self.objective(
                outputs,
                teacher_temperature=teacher_temperature,
                progress=step / self.steps,
                all_reduce_sum=all_reduce_sum,
            )
        with part("backward"):
            self.fabric.backward(losses.total)
        if not train.sharded:  # gradients of shards arrive averaged
            average_gradients(self.pair.network.parameters())
        if step / self.steps < self.config.optim.freeze_prototypes:
            self.pair.drop_prototype_gradients()
        with part("optimizer"):  # an infinite limit clips nothing and still measures
            norm = clip_grad_norm_(self.optimizer.parameters(), self.config.optim.clip or math.inf)
        result = StepResult(
            outputs=outputs,
            losses=losses,
            gradient_norm=full_state(norm),
            learning_rate=learning_rate,
            teacher_temperature=teacher_temperature,
        )
        finite = result.finite()
        with part("optimizer"):
            self.optimizer.step(skip=~finite)
            self.optimizer.zero_grad()
        if buffers_before is not None:
            self._restore_unless(finite, buffers_before)
        with part("EMA"):
            self.pair.update_teacher(cosine(step, self.steps, self.config.optim.ema, self.config.optim.final_ema))
        return result

    def draw_masks(self) -> tuple[Tensor, Tensor]:
        """This device's masks (V, b, N) for the global views, and the flat indices where they are True.

        The indices are found on the host, where masks are drawn: on the device the host would have to wait for them.
        """
        shape = (GLOBAL_VIEWS, self.config.train.batch)
        mask = local_shard_of_views(draw_masks(shape, self.pair.grid, self.config.mask, self.mask_generator))
        device = self.fabric.device
        return to_device(mask, device), to_device(mask.flatten().nonzero().flatten(), device)

    def _set_schedules(self, step: int) -> tuple[float, float]:
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
        """What a forward pass changes: BatchNorm's statistics, centres, queues, factors of gradient norm ratios."""
        return [*self.pair.network.buffers(), *self.objective.buffers()]

    def _restore_unless(self, finite: Tensor, buffers_before: list[Tensor]) -> None:
        for buffer, before in zip(self._buffers(), buffers_before, strict=True):
            buffer.copy_(torch.where(finite, buffer, before))

    def random_state(self) -> dict[str, Any]:
        """The states of the random generators."""
        return random_state(self.mask_generator)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, unsharded; all processes must call it."""
        return {
            "student": full_state(self.pair.network.state_dict()),
            "teacher": full_state(self.pair.teacher.state_dict()),
            "objective": self.objective.state_dict(),
            "optimizer": full_state(self.optimizer.state_dict()),
            "random": self.random_state(),
            "frozen_teacher": self.pair.frozen_sha256,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a state of `state`.

        Raises:
            UserError: it is not the state of such a network, objective and optimizer, or of another frozen teacher.
        """
        before, now = state.get("frozen_teacher"), self.pair.frozen_sha256
        if before != now:
            raise UserError(
                f"the run learns from a frozen teacher with weights {str(before)[:12]}, and "
                f"{self.config.teacher.source} holds {str(now)[:12]}: restore them, or choose another --out"
            )
        try:
            for network, name in ((self.pair.network, "student"), (self.pair.teacher, "teacher")):
                network.load_state_dict(shard_like(state[name], network))
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(shard_optimizer_like(state["optimizer"], self.optimizer.parameters()))
            set_random_state(state["random"], self.mask_generator)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"the checkpoint does not fit this config: {' '.join(str(error).split())[:300]}") from None
