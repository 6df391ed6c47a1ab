"""Muon: momentum SGD with orthogonalised updates, so that all directions of a weight matrix are learnt equally fast.

`torch.optim.Muon` handles one matrix after the other, in bfloat16. This one handles all matrices of a shape together,
treats q, k, v of a fused layer as three matrices, works on sharded parameters, and can skip a step on the device.

Axes: n matrices of one shape, R rows, C columns.

Source:
    Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024 (kellerjordan.github.io/posts/muon);
    Liu et al., Muon is Scalable for LLM Training, 2025 (arXiv:2502.16982), section 2.2 for the length of the update.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of x -> a x + b x^3 + c x^5 on singular values, which rises steeply from 0 and stays near 1."""
NEWTON_SCHULZ_STEPS = 5
SMALLEST_NORM = 1e-7
UPDATE_RMS = 0.2
"""Root mean square of an update's entries at learning rate 1, as AdamW's updates usually have."""


def orthogonalize(matrices: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Set the singular values of each matrix to about 1, and keep its singular vectors.

    Args:
        matrices: (n, R, C).
        dtype: of the matrix products.
    Returns:
        (n, R, C) of the input's type; singular values between 0.68 and 1.2, save those below 1/500 of the norm.
    Source:
        Jordan et al., Muon, 2024: five steps of a Newton-Schulz iteration.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype)  # the Gram matrix of the shorter side is the smaller one
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(Optimizer):
    """Nesterov momentum with orthogonalised updates and decoupled weight decay, as in AdamW.

    If the tensor `found_inf` is 1, a step changes neither weights nor momenta; the host does not wait for its value.
    This is the protocol of torch's fused AdamW with `torch.amp.GradScaler`.

    Args:
        params: matrices (R, C), or groups of them. A group's `parts` is the number of matrices stacked in each
            parameter: 3 for a fused q, k, v layer.
        lr: learning rate. Updates have the root mean square of AdamW's, so AdamW's learning rates are a good start.
        weight_decay: each step multiplies a weight by 1 - lr * weight_decay.
        momentum: decay of the momentum per step.
        dtype: dtype of the matrix products in the orthogonalisation; None is bfloat16 on CUDA and float32 elsewhere.
    Raises:
        ValueError: a parameter is not a matrix, or not `parts` matrices of one shape.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "parts": 1})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2 or parameter.shape[0] % group["parts"]:
                    shape = tuple(parameter.shape)
                    raise ValueError(f"Muon needs {group['parts']} * R rows and C columns, got a parameter {shape}")
        self.dtype = dtype
        self.found_inf: Tensor | None = None
        self._step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient. With sharded parameters, all processes must call it."""
        for group in self.param_groups:
            by_shape: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    key = (parameter.shape, parameter.dtype, parameter.device)
                    by_shape.setdefault(key, []).append(parameter)
            for parameters in by_shape.values():
                self._step_together(parameters, group)

    def _step_together(self, parameters: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Update n parameters of one shape (R, C); if sharded, each process holds some of the R rows."""
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        weights = [_local(parameter) for parameter in parameters]
        momenta = [_local(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
        gradients = [_local(parameter.grad) for parameter in parameters if parameter.grad is not None]
        old_momenta, gradient = torch.stack(momenta), torch.stack(gradients)  # (n, R, C)
        new_momenta = old_momenta.lerp(gradient, 1 - group["momentum"])
        direction = _all_rows(gradient.lerp(new_momenta, group["momentum"]), like=parameters[0])
        update = _local_rows(self._scaled_update(direction, group["parts"]), like=parameters[0])
        old_weights = torch.stack(weights)
        new_weights = old_weights * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * update
        if self.found_inf is not None:
            skip = self.found_inf.bool()
            new_weights = torch.where(skip, old_weights, new_weights)
            new_momenta = torch.where(skip, old_momenta, new_momenta)
        torch._foreach_copy_(weights, list(new_weights.unbind()))
        torch._foreach_copy_(momenta, list(new_momenta.unbind()))

    def _scaled_update(self, direction: Tensor, parts: int) -> Tensor:
        """The update (n, R, C) at learning rate 1 for momenta (n, R, C); each R / parts rows are one matrix."""
        matrices = direction.unflatten(1, (parts, -1)).flatten(0, 1)  # (n * parts, R / parts, C)
        default = torch.bfloat16 if direction.is_cuda else torch.float32
        scale = UPDATE_RMS * math.sqrt(max(matrices.shape[-2:]))
        return (scale * orthogonalize(matrices, dtype=self.dtype or default)).view_as(direction)


def _local(tensor: Tensor) -> Tensor:
    """This process's rows of a sharded tensor, or an unsharded tensor itself, without a copy."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _all_rows(rows: Tensor, *, like: Tensor) -> Tensor:
    """All-gather to (n, R, C) from rows that are sharded as the parameter `like` (R, C)."""
    if not isinstance(like, DTensor):
        return rows
    assert like.placements == (Shard(0),), like.placements
    shape = torch.Size((len(rows), *like.shape))
    stride = (like.shape.numel(), like.shape[1], 1)
    cut = DTensor.from_local(rows, like.device_mesh, [Shard(1)], run_check=False, shape=shape, stride=stride)
    return cut.full_tensor()


def _local_rows(full: Tensor, *, like: Tensor) -> Tensor:
    """This process's rows of (n, R, C), sharded as the parameter `like` (R, C)."""
    if not isinstance(like, DTensor):
        return full
    copies = DTensor.from_local(full, like.device_mesh, [Replicate()], run_check=False)
    return copies.redistribute(placements=[Shard(1)]).to_local()
