"""The weighted sum of a method's terms over one step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mrkd.config import Config, Term
from mrkd.errors import UserError
from mrkd.losses.centering import MovingCenter
from mrkd.losses.checks import without_value_checks
from mrkd.objective.checks import check_term, label
from mrkd.objective.loss_table import LOSSES
from mrkd.objective.terms import Context
from mrkd.objective.tokens import StepOutputs

GRAD_NORM_STEPS = 10
"""Gradient lengths are measured every so many steps: they change slowly, and each costs a backward pass."""
GRAD_NORM_MOMENTUM = 0.7
"""The factor that keeps a ratio is a moving average, so that one odd batch does not move it far."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """One step's loss and its parts."""

    total: Tensor
    """Scalar, the weighted sum."""
    by_term: dict[str, Tensor]
    """Term label to its unweighted scalar, detached."""


class Objective(nn.Module):
    """Terms plus the only state losses have: the moving centres, and the factors that keep gradient norm ratios."""

    grad_norm_factors: Tensor
    """(T,) float64, one for each term; on the device, so that nobody waits for it."""

    def __init__(self, config: Config, terms: tuple[Term, ...]) -> None:
        super().__init__()
        for term in terms:
            check_term(term, config)
        shared = [term for term in terms if term.grad_norm_ratio is not None]
        if shared and len(shared) == len(terms):
            raise UserError(
                f"{shared[0].loss}: a grad_norm_ratio is relative to terms with a plain weight, and there is none"
            )
        self.terms = terms
        self.config = config
        distillation = config.distillation
        self.cls_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.patch_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.register_buffer("grad_norm_factors", torch.zeros(len(terms)), persistent=False)
        self.measured_steps = 0

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint keeps besides tensors."""
        return {"grad_norm_factors": self.grad_norm_factors.tolist(), "measured_steps": self.measured_steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back; `share_factors` is what older checkpoints call the factors."""
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
            step: the networks' outputs; with several devices, gathered from all of them.
            teacher_temperature: of iBOT's targets.
            progress: in [0, 1], the part of the run that is done, for weight ramps.
            all_reduce_sum: adds a tensor up over the devices, for the lengths of gradients; None for one device.
        """
        context = Context(
            distillation=self.config.distillation,
            teacher_temperature=teacher_temperature,
            cls_center=self.cls_center,
            patch_center=self.patch_center,
        )
        # The caller watches the losses and the features: a check of values would wait for the device in every term.
        with torch.autocast(step.student.features.device.type, enabled=False), without_value_checks():
            values = [LOSSES[term.loss].value(context, step, term) for term in self.terms]
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
                    before, momentum = self.grad_norm_factors[number], GRAD_NORM_MOMENTUM
                    moved = torch.where(before > 0, momentum * before + (1.0 - momentum) * factor, factor)
                    self.grad_norm_factors[number] = moved
        self.measured_steps += 1
