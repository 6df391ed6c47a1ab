"""The weighted sum of a method's terms over one step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mrkd.config import Config, Term
from mrkd.errors import UserError
from mrkd.losses.centering import MovingCenter
from mrkd.objective.terms import Context, check_term, term_function
from mrkd.objective.tokens import StepOutputs

GRAD_NORM_STEPS = 10
"""Gradient lengths are measured every so many steps: they change slowly, and each costs a backward pass."""
GRAD_NORM_MOMENTUM = 0.7
"""The factor of a share is a moving average, so that one odd batch does not move it far."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """One step's loss and its parts."""

    total: Tensor
    """Scalar, the weighted sum."""
    by_term: dict[str, Tensor]
    """Term label to its unweighted scalar, detached."""


class Objective(nn.Module):
    """Terms plus the only state losses have: the moving centres, and the factors of shares."""

    def __init__(self, config: Config, terms: tuple[Term, ...]) -> None:
        super().__init__()
        for term in terms:
            check_term(term, config)
        shared = [term for term in terms if term.grad_norm_ratio is not None]
        if shared and len(shared) == len(terms):
            raise UserError(f"{shared[0].loss}: a share is relative to terms with a plain weight, and there is none")
        self.terms = terms
        self.config = config
        distillation = config.distillation
        self.cls_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.patch_center = MovingCenter(config.head.prototypes, distillation.center_momentum)
        self.grad_norm_factors = [0.0] * len(terms)
        self.measured_steps = 0

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint keeps besides tensors."""
        return {"grad_norm_factors": self.grad_norm_factors, "measured_steps": self.measured_steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.grad_norm_factors, self.measured_steps = list(state["grad_norm_factors"]), state["measured_steps"]

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
        with torch.autocast(step.student.features.device.type, enabled=False):
            values = [term_function(term.loss)(context, step, term) for term in self.terms]
            ramps = [min(progress / term.ramp, 1.0) if term.ramp > 0 else 1.0 for term in self.terms]
            plain = step.student.features.new_zeros((), dtype=torch.float32)
            for term, value, ramp in zip(self.terms, values, ramps, strict=True):
                if term.grad_norm_ratio is None:
                    plain = plain + term.weight * ramp * value
            if any(term.grad_norm_ratio is not None for term in self.terms):
                self._measure_shares(plain, values, step, all_reduce_sum)
            total = plain
            for number, (term, value, ramp) in enumerate(zip(self.terms, values, ramps, strict=True)):
                if term.grad_norm_ratio is not None:
                    total = total + self.grad_norm_factors[number] * ramp * value
        by_term = {label(term): value.detach() for term, value in zip(self.terms, values, strict=True)}
        return Losses(total=total, by_term=by_term)

    def _measure_shares(
        self, plain: Tensor, values: list[Tensor], step: StepOutputs, all_reduce_sum: Callable[[Tensor], Tensor] | None
    ) -> None:
        if not torch.is_grad_enabled():
            return
        if self.measured_steps % GRAD_NORM_STEPS == 0:
            features = [tokens.features for tokens in (step.student, step.student_local) if tokens is not None]

            def length(value: Tensor) -> float:
                gradients = torch.autograd.grad(value, features, retain_graph=True, allow_unused=True)
                squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
                total = torch.stack(squares).sum() if squares else plain.new_zeros(())
                return math.sqrt((total if all_reduce_sum is None else all_reduce_sum(total)).item())

            reference = length(plain)
            for number, (term, value) in enumerate(zip(self.terms, values, strict=True)):
                if term.grad_norm_ratio is not None:
                    factor = term.grad_norm_ratio * reference / max(length(value), 1e-12)
                    momentum = GRAD_NORM_MOMENTUM if self.measured_steps else 0.0
                    self.grad_norm_factors[number] = (
                        momentum * self.grad_norm_factors[number] + (1.0 - momentum) * factor
                    )
        self.measured_steps += 1


def label(term: Term) -> str:
    """`rkd-distance/cls`: the loss, its parts and its tokens, as metrics and reports name it."""
    if term.loss in ("ibot-cls", "ibot-patch", "koleo", "variance", "attention", "simclr", "vicreg"):
        return term.loss
    name = term.loss
    if name == "relation":
        name = f"{term.options['potential']}-{term.options['divergence']}"
    place = term.tokens if term.block is None else f"{term.tokens}/block{term.block}"
    return f"{name}/{place}"
