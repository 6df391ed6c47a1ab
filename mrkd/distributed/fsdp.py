"""Shard networks over devices (FSDP), and convert between sharded and full states.

A checkpoint always holds full tensors, so a run may be resumed with or without sharding, on any number of devices. All
processes must call the functions that gather full tensors.
"""

from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(network: nn.Module, blocks: Iterable[nn.Module], device_type: str) -> None:
    """Shard the parameters of a network over all devices; each of its `blocks` is gathered only while it computes."""
    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    for part in [*blocks, network]:
        # Reshard also after the forward pass of the network itself: gathered parameters would miss updates of the
        # teacher.
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def local_shard(tensor: Tensor) -> Tensor:
    """This device's shard of a sharded tensor, or an unsharded tensor itself, without a copy."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_state(state: Any) -> Any:
    """The same nested state with sharded tensors replaced by full ones; all processes must call it."""
    if isinstance(state, DTensor):
        return state.full_tensor()
    if isinstance(state, dict):
        return {key: full_state(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(full_state(value) for value in state)
    return state


def shard_like(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A full state dict, with tensors sharded as `network` has them."""
    present = network.state_dict()
    return {name: _shard_one_like(value, present.get(name)) for name, value in state.items()}


def shard_optimizer_like(state: dict[str, Any], parameters: list[Tensor]) -> dict[str, Any]:
    """A full optimizer state, with tensors of a parameter's shape sharded as the parameter is.

    Args:
        state: as from `torch.optim.Optimizer.state_dict`, which numbers the parameters.
        parameters: in the order of those numbers.
    """
    sharded = {
        number: {
            name: _shard_one_like(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": sharded}


def _shard_one_like(value: Tensor, like: Tensor | None) -> Tensor:
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
