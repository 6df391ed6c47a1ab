"""Networks cut into shares, one per device (FSDP), and their states as whole tensors again.

A checkpoint always holds whole tensors, so a run may go on with or without sharding, on any number of devices. Every
function that makes tensors whole must be called by all processes.
"""

from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(network: nn.Module, blocks: Iterable[nn.Module], device_type: str) -> None:
    """Cut the parameters of every one of its `blocks`, and what else `network` holds, over all devices.

    Each block is whole only while it computes.
    """
    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    for part in [*blocks, network]:
        # Also after the root's forward pass: its whole parameters would outlive a teacher's update unseen.
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def local_shard(tensor: Tensor) -> Tensor:
    """This device's part of a sharded tensor; any other tensor itself. Shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_state(state: Any) -> Any:
    """The same nested state with every sharded tensor made whole; all processes must call it."""
    if isinstance(state, DTensor):
        return state.full_tensor()
    if isinstance(state, dict):
        return {key: full_state(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(full_state(value) for value in state)
    return state


def shard_like(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A network's whole state, with the tensors that it holds in shares cut likewise."""
    present = network.state_dict()
    return {name: _cut(value, present.get(name)) for name, value in state.items()}


def shard_optimizer_like(state: dict[str, Any], parameters: list[Tensor]) -> dict[str, Any]:
    """An optimizer's whole state, with what has its parameter's shape cut as the parameter is.

    Args:
        state: of `torch.optim.Optimizer.state_dict`, which numbers the parameters.
        parameters: in the order of those numbers.
    """
    cut = {
        number: {
            name: _cut(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": cut}


def _cut(value: Tensor, like: Tensor | None) -> Tensor:
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
