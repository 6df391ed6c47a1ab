"""Optimizers by name. A new one is one entry of `OPTIMIZERS`: a function of the network and the settings."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from mrkd.config import OptimConfig
from mrkd.errors import UserError, nearest
from mrkd.optim.muon import Muon


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters with the same optimizer settings."""

    parameters: list[Tensor]
    decayed: bool
    """Whether weight decay applies."""
    rate_factor: float = 1.0
    """Learning rate as a multiple of the schedule's."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of the group for its optimizer."""


class Optimizers:
    """Several torch optimizers, each for some of the parameters, used as one.

    Each must change neither weights nor state if its attribute `found_inf`, a tensor, is 1, as torch's fused AdamW
    does. The state has the form of a single torch optimizer's, with parameters numbered across all of them.
    """

    def __init__(self) -> None:
        self._members: list[tuple[Optimizer, list[Group]]] = []

    def add(self, kind: Callable[..., Optimizer], groups: list[Group], config: OptimConfig, **options: Any) -> None:
        """Create an optimizer of this class for these groups."""
        settings = [
            {
                "params": group.parameters,
                "weight_decay": config.weight_decay if group.decayed else 0.0,
                **group.options,
            }
            for group in groups
        ]
        optimizer = kind(settings, lr=config.learning_rate, **options)
        # torch.amp.GradScaler, too, recognises by this attribute an optimizer that obeys `found_inf`.
        assert getattr(optimizer, "_step_supports_amp_scaling", False), f"{kind} must be able to skip a step"
        self._members.append((optimizer, groups))

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers, as in torch."""
        return [group for optimizer, _ in self._members for group in optimizer.param_groups]

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of their numbers in the state."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def set_schedule(self, learning_rate: float, weight_decay: float) -> None:
        """Set learning rate and weight decay for the next step."""
        groups = [group for _, groups in self._members for group in groups]
        for values, group in zip(self.param_groups, groups, strict=True):
            values["lr"] = learning_rate * group.rate_factor
            values["weight_decay"] = weight_decay if group.decayed else 0.0

    def step(self, *, skip: Tensor) -> None:
        """Update, or change nothing if the () bool tensor `skip` is True. The host does not wait for its value."""
        for optimizer, _ in self._members:
            optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
            optimizer.step()

    def zero_grad(self) -> None:
        """Clear all gradients."""
        for optimizer, _ in self._members:
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The state in the form of `torch.optim.Optimizer.state_dict`."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        first = 0
        for optimizer, _ in self._members:
            own = _renumbered(optimizer.state_dict(), first)
            state |= own["state"]
            groups += own["param_groups"]
            first += sum(len(group["params"]) for group in own["param_groups"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned.

        Raises:
            ValueError: the numbers of parameters in the groups differ.
        """
        expected = [len(group["params"]) for group in self.param_groups]
        found = [len(group["params"]) for group in state["param_groups"]]
        if found != expected:
            raise ValueError(f"groups of parameters must have the sizes {expected}, got {found}")
        groups = iter(state["param_groups"])
        for optimizer, _ in self._members:
            own = [next(groups) for _ in optimizer.param_groups]
            numbers = {number for group in own for number in group["params"]}
            entries = {number: entry for number, entry in state["state"].items() if number in numbers}
            optimizer.load_state_dict(_renumbered({"state": entries, "param_groups": own}, -min(numbers, default=0)))


def _renumbered(state: dict[str, Any], shift: int) -> dict[str, Any]:
    """The state of an optimizer with all parameter numbers shifted."""
    return {
        "state": {number + shift: entry for number, entry in state["state"].items()},
        "param_groups": [
            {**group, "params": [number + shift for number in group["params"]]} for group in state["param_groups"]
        ],
    }


def _adamw_groups(named: Iterable[tuple[str, Tensor]], config: OptimConfig) -> list[Group]:
    """Matrices have weight decay, biases and norms none; `decay_embeddings` decides on embeddings and prototypes."""
    decayed: list[Tensor] = []
    exempt: list[Tensor] = []
    for name, parameter in named:
        leaf = name.rpartition(".")[2]
        embedding = leaf in ("pos_embed", "cls_token", "mask_token", "reg_token") or "prototypes" in name
        free = leaf == "freqs" or (not config.decay_embeddings if embedding else parameter.ndim < 2)
        (exempt if free else decayed).append(parameter)
    return [Group(parameters=decayed, decayed=True), Group(parameters=exempt, decayed=False)]


def _adamw(module: nn.Module, config: OptimConfig) -> Optimizers:
    optimizers = Optimizers()
    optimizers.add(AdamW, _adamw_groups(module.named_parameters(), config), config, betas=config.betas, fused=True)
    return optimizers


BLOCK_LAYERS = re.compile(r"(.*\.)?blocks\.\d+\..*")
HEAD_LAYERS = re.compile(r"head\.mlp\..*|predictor|head_predictor\..*")


def _muon(module: nn.Module, config: OptimConfig) -> Optimizers:
    """Muon for the linear layers of the blocks, with `muon_head` also of head and predictor; AdamW for the rest."""
    selected = {
        f"{name}.weight": layer.weight
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
        and (BLOCK_LAYERS.fullmatch(name) or (config.muon_head and HEAD_LAYERS.fullmatch(name)))
    }
    fused = [weight for name, weight in selected.items() if name.endswith(".qkv.weight")]
    single = [weight for name, weight in selected.items() if not name.endswith(".qkv.weight")]
    groups = [
        Group(parameters=weights, decayed=True, rate_factor=config.muon_rate_factor, options={"parts": parts})
        for weights, parts in ((single, 1), (fused, 3))
    ]
    others = [(name, parameter) for name, parameter in module.named_parameters() if name not in selected]
    optimizers = Optimizers()
    optimizers.add(AdamW, _adamw_groups(others, config), config, betas=config.betas, fused=True)
    optimizers.add(Muon, groups, config)
    return optimizers


OPTIMIZERS: dict[str, Callable[[nn.Module, OptimConfig], Optimizers]] = {"adamw": _adamw, "muon": _muon}
"""`optim.name` -> function that creates the optimizer."""


def check_optimizer(name: str) -> None:
    """Check the name of an optimizer.

    Raises:
        UserError: the name is unknown; the message suggests the nearest one.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"unknown optimizer {name!r} in optim.name: {nearest(name, OPTIMIZERS)}")


def make_optimizer(module: nn.Module, config: OptimConfig) -> Optimizers:
    """Create the optimizer that the settings name, for all parameters of a network already on its device.

    Raises:
        UserError: the name is unknown.
    """
    check_optimizer(config.name)
    return OPTIMIZERS[config.name](module, config)
