"""All-gather and all-reduce, with gradients where the name says so, for losses over the global batch.

Each device gathers the tokens of all devices and computes the loss of the global batch. Backward sums the gradients
that all W devices send to a tensor, which is W times its gradient. Averaging gradients over the devices, as
data-parallel training does, then gives the gradient of one process on the global batch.

Axes: W devices, V views, B images per device, N patches, M patch tokens through the head.
"""

import dataclasses
import signal
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mrkd.objective.tokens import StepOutputs, ViewTokens


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # A copy, because autograd may use the tensor elsewhere too.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank()]


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def world_size() -> int:
    """Number of processes in the process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def local_shard_of_views(images: Tensor) -> Tensor:
    """This device's images (V, B, ...) of the global batch (V, W * B, ...), which is in the order of the devices."""
    return images if world_size() == 1 else images.chunk(world_size(), dim=1)[dist.get_rank()].contiguous()


def local_slice(images: int) -> slice:
    """The slice of a global batch of `images` images that belongs to this device."""
    if world_size() == 1:
        return slice(0, images)
    each = images // world_size()
    return slice(dist.get_rank() * each, (dist.get_rank() + 1) * each)


def all_gather_names(names: list[str]) -> list[str]:
    """The union of the names on all devices, in order of first appearance."""
    if world_size() == 1:
        return names
    parts: list[list[str]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, names)
    return list(dict.fromkeys(name for part in parts for name in part))


def all_gather_with_grad(embeddings: Tensor) -> Tensor:
    """Gather the embeddings of all processes, with gradients; for the losses in your own training loop.

    Each process then computes the loss of the global batch. Backward sums the gradients that all W processes send to an
    embedding, which is W times its gradient. DistributedDataParallel averages gradients over the processes, which gives
    the gradient of one process on the global batch. A loop that sums gradients instead gets W times as much.

    Args:
        embeddings: (N, D), with the same N, D and dtype on every process; this is not checked, because a check would
            cost another exchange. All processes must call this function, and either all or none must call backward.
    Returns:
        (W * N, D) in the order of the ranks; the embeddings themselves without a process group.
    """
    return embeddings if world_size() == 1 else _AllGather.apply(embeddings).flatten(0, 1)


def all_reduce_sum_with_grad(value: Tensor) -> Tensor:
    """The sum of a tensor over all devices, with gradients to all of them."""
    return value if world_size() == 1 else _AllReduceSum.apply(value)


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average the gradients of these parameters over the devices, in one exchange per dtype."""
    if world_size() == 1:
        return
    # All devices compute the same graph, so the same parameters have gradients.
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_dtype.values():
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(joined)
        joined /= world_size()
        for gradient, part in zip(gradients, joined.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def all_reduce_count(count: int, device: torch.device) -> int:
    """The sum of a count over all devices."""
    return count if world_size() == 1 else int(all_reduce_sum(torch.tensor(count, device=device)))


def all_reduce_max(number: int, device: torch.device) -> int:
    """The maximum of a number over all devices."""
    if world_size() == 1:
        return number
    largest = torch.tensor(number, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def agree_on_stop(
    received: signal.Signals | None, checkpoint_due: bool, device: torch.device
) -> tuple[signal.Signals | None, bool]:
    """The signal that any process received, and, if there is none, whether a checkpoint is due in any of them.

    So all processes stop, or gather sharded networks, after the same step, although their clocks differ.
    """
    if world_size() == 1:
        return received, checkpoint_due
    highest = all_reduce_max(2 * (received.value if received else 0) + checkpoint_due, device)
    return signal.Signals(highest // 2) if highest > 1 else None, bool(highest % 2)


def destroy_process_group_together() -> None:
    """Wait for all processes, then end the process group.

    A process that exits while connections are still open may be aborted, or abort another.
    """
    if world_size() > 1:
        dist.barrier()
        dist.destroy_process_group()


def all_gather_step(step: StepOutputs) -> StepOutputs:
    """Gather the outputs of all devices, with images in the order of the devices. `features` is not gathered.

    All devices must hold the same number of images. Without a process group the step is returned unchanged.
    """
    if world_size() == 1:
        return step
    index = _global_index(step)
    counts = _gather_counts(len(step.patch_index), index.device)
    order = _gather_rows(index, counts).argsort()
    patch_index = _gather_rows(index, counts)[order]

    def gather_tokens(tokens: ViewTokens) -> ViewTokens:
        changes: dict[str, Any] = {"blocks": {n: _gather_images(block) for n, block in tokens.blocks.items()}}
        for field in dataclasses.fields(tokens):
            value = getattr(tokens, field.name)
            if field.name in ("features", "blocks") or value is None:
                continue
            if field.name.startswith("patch_") and field.name != "patch_backbone":
                changes[field.name] = _gather_rows(value, counts)[order]
            else:
                changes[field.name] = _gather_images(value)
        return dataclasses.replace(tokens, **changes)

    patch_mask = _gather_images(step.patch_mask.to(torch.uint8)).bool()
    return StepOutputs(
        student=gather_tokens(step.student),
        teacher=None if step.teacher is None else gather_tokens(step.teacher),
        student_local=None if step.student_local is None else gather_tokens(step.student_local),
        patch_mask=patch_mask,
        patch_index=patch_index,
        masked_index=patch_mask.flatten().nonzero().flatten(),
        frozen=None if step.frozen is None else gather_tokens(step.frozen),
        same_view=step.same_view,
    )


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of a tensor over all devices; the tensor itself without a process group."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def _gather_images(tensor: Tensor) -> Tensor:
    """(V, B, ...) -> (V, W * B, ...)."""
    return _AllGather.apply(tensor).transpose(0, 1).flatten(1, 2)


def _gather_counts(own: int, device: torch.device) -> list[int]:
    count = torch.tensor([own], device=device)
    return [int(part) for part in _AllGather.apply(count).flatten()]


def _gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """(M, ...) with a different M on each device -> (sum of M, ...); pads, because all_gather needs equal shapes."""
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded = torch.cat([rows, padded[len(rows) :]])
    parts = _AllGather.apply(padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _global_index(step: StepOutputs) -> Tensor:
    """The flat positions of this device's patch tokens in the (V, W * B, N) of all devices."""
    _, images, patches = step.patch_mask.shape
    view = step.patch_index // (images * patches)
    within = step.patch_index % (images * patches)
    return (view * dist.get_world_size() + dist.get_rank()) * images * patches + within
