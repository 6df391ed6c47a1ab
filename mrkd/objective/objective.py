"""The training loss of one step: the weighted sum of a method's terms."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from mrkd.config import Config, Term
from mrkd.errors import UserError
from mrkd.losses.centering import MovingCenter
from mrkd.losses.checks import without_value_checks
from mrkd.losses.queue import EmbeddingQueue
from mrkd.objective.checks import check_teacher, check_term, label, space_width
from mrkd.objective.loss_table import LOSSES
from mrkd.objective.selection import target_cls_tokens
from mrkd.objective.term_values import Context
from mrkd.objective.tokens import StepOutputs

GRAD_NORM_STEPS = 10
"""Steps between measurements of gradient norms, which change slowly and cost a backward pass each."""
GRAD_NORM_MOMENTUM = 0.7
"""Momentum of the moving average of the factors, which limits the effect of a single batch."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The loss of one step, and the value of each term."""

    total: Tensor
    """Scalar, the weighted sum."""
    by_term: dict[str, Tensor]
    """Label of a term -> its unweighted scalar, detached."""


class Objective(nn.Module):
    """The terms, with their state: moving centres, queues, and factors for terms with a gradient norm ratio."""

    grad_norm_factors: Tensor
    """(T,) float64, float32 on MPS; one factor per term, on the device, so that the host need not wait for it."""

    def __init__(self, config: Config, terms: tuple[Term, ...]) -> None:
        super().__init__()
        for term in terms:
            check_term(term, config)
        check_teacher(terms, config)
        relative = [term for term in terms if term.grad_norm_ratio is not None]
        if relative and len(relative) == len(terms):
            raise UserError(
                f"{relative[0].loss}: a grad_norm_ratio is relative to the terms with a weight, and there are none; "
                "give at least one term a weight"
            )
        self.terms = terms
        self.config = config
        distillation = config.distillation
        self.cls_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.patch_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.register_buffer("grad_norm_factors", torch.zeros(len(terms), dtype=torch.float64), persistent=False)
        self.queues = nn.ModuleDict()
        self.measured_steps = 0

    def make_queues(self, backbone_width: int) -> None:
        """Create the queues of the terms with anchors `queue`.

        Args:
            backbone_width: channels of the target's class token after the backbone.
        """
        for number, term in enumerate(self.terms):
            if term.anchors == "queue":
                frozen = self.config.teacher.source is not None  # a frozen teacher has no other space
                width = backbone_width if frozen else space_width(term.space, backbone_width, self.config)
                self.queues[str(number)] = EmbeddingQueue(self.config.objective.queue_images, width)

    def place_on(self, device: torch.device) -> None:
        """Move the state to the device, in float32 on Apple's GPUs, which have no float64."""
        if device.type == "mps":
            self.float()
        self.to(device)

    def get_extra_state(self) -> dict[str, Any]:
        """The state for a checkpoint that is not in buffers."""
        return {"grad_norm_factors": self.grad_norm_factors.tolist(), "measured_steps": self.measured_steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it. Older checkpoints call the factors `share_factors`."""
        factors = state["share_factors"] if "share_factors" in state else state["grad_norm_factors"]
        self.grad_norm_factors.copy_(torch.tensor(factors, dtype=self.grad_norm_factors.dtype))
        self.measured_steps = state["measured_steps"]

    def forward(
        self,
        step: StepOutputs,
        *,
        teacher_temperature: float,
        progress: float,
        all_reduce_sum: Callable[[Tensor], Tensor] | None = None,
    ) -> Losses:
        """The loss of one step.

        Args:
            step: outputs of the networks; with several devices, gathered from all of them.
            teacher_temperature: temperature of iBOT's targets.
            progress: fraction of the run that is done, in [0, 1], for weight ramps.
            all_reduce_sum: sums a tensor over the devices, for gradient norms; None for one device.
        """
        context = Context(
            distillation=self.config.distillation,
            teacher_temperature=teacher_temperature,
            cls_center=self.cls_center,
            patch_center=self.patch_center,
            seed=round(progress * 2**48),
        )
        # The training loop checks losses and features; checks inside each term would wait for the device each time.
        with torch.autocast(step.student.features.device.type, enabled=False), without_value_checks():
            values = [self._value(number, context, step) for number in range(len(self.terms))]
            self._fill_queues(step)
            ramps = [min(progress / term.ramp, 1.0) if term.ramp > 0 else 1.0 for term in self.terms]
            plain = step.student.features.new_zeros((), dtype=torch.float32)
            for term, value, ramp in zip(self.terms, values, ramps, strict=True):
                if term.grad_norm_ratio is None:
                    plain = plain + term.weight * ramp * value
            if any(term.grad_norm_ratio is not None for term in self.terms):
                self._measure_gradient_norms(plain, values, step, all_reduce_sum)
            total = plain
            for number, (term, value, ramp) in enumerate(zip(self.terms, values, ramps, strict=True)):
                if term.grad_norm_ratio is not None:
                    total = total + (self.grad_norm_factors[number] * ramp).to(value.dtype) * value
        by_term = {label(term): value.detach() for term, value in zip(self.terms, values, strict=True)}
        return Losses(total=total, by_term=by_term)

    def _queue(self, number: int) -> EmbeddingQueue | None:
        key = str(number)
        return cast(EmbeddingQueue, self.queues[key]) if key in self.queues else None

    def _value(self, number: int, context: Context, step: StepOutputs) -> Tensor:
        term = self.terms[number]
        return LOSSES[term.loss].value(replace(context, queue=self._queue(number)), step, term)

    def _fill_queues(self, step: StepOutputs) -> None:
        """One view of each image of the batch goes into the queues, after the losses have used them."""
        for number, term in enumerate(self.terms):
            if (queue := self._queue(number)) is not None:
                queue.push(target_cls_tokens(step, term)[0])

    def _measure_gradient_norms(
        self, plain: Tensor, values: list[Tensor], step: StepOutputs, all_reduce_sum: Callable[[Tensor], Tensor] | None
    ) -> None:
        if not torch.is_grad_enabled():
            return
        if self.measured_steps % GRAD_NORM_STEPS == 0:
            features = [tokens.features for tokens in (step.student, step.student_local) if tokens is not None]

            def norm(value: Tensor) -> Tensor:
                gradients = torch.autograd.grad(value, features, retain_graph=True, allow_unused=True)
                squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
                total = torch.stack(squares).sum() if squares else plain.new_zeros(())
                return (total if all_reduce_sum is None else all_reduce_sum(total)).sqrt()

            reference = norm(plain)
            for number, (term, value) in enumerate(zip(self.terms, values, strict=True)):
                if term.grad_norm_ratio is not None:
                    factor = term.grad_norm_ratio * reference / norm(value).clamp(min=1e-12)
                    previous, momentum = self.grad_norm_factors[number], GRAD_NORM_MOMENTUM
                    average = torch.where(previous > 0, momentum * previous + (1.0 - momentum) * factor, factor)
                    self.grad_norm_factors[number] = average
        self.measured_steps += 1
