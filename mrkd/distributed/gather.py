"""Relations over the global batch: every device gets all devices' tokens, with gradients.

Each device then computes the whole loss. Backward adds up what the devices send to each tensor, which is the number of
devices times its gradient, and the average that data-parallel training takes over devices makes that the gradient of
one process on the whole batch. Axes: W devices, V views, B images per device, N patches, M patch tokens through the
head.
"""

import dataclasses
import signal
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mrkd.objective.tokens import StepOutputs, ViewTokens


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)  # autograd may hand it to others, too
        dist.all_reduce(total)
        return total[dist.get_rank()]


class _Sum(torch.autograd.Function):
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
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def local_shard_of_views(images: Tensor) -> Tensor:
    """This device's share (V, B, ...) of the images of all devices (V, W * B, ...), in the order of the devices."""
    return images if world_size() == 1 else images.chunk(world_size(), dim=1)[dist.get_rank()].contiguous()


def local_slice(images: int) -> slice:
    """Rows of a global batch of `images` images that belong to this device."""
    if world_size() == 1:
        return slice(0, images)
    each = images // world_size()
    return slice(dist.get_rank() * each, (dist.get_rank() + 1) * each)


def all_gather_names(names: list[str]) -> list[str]:
    """The names that any device has, each once."""
    if world_size() == 1:
        return names
    parts: list[list[str]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, names)
    return list(dict.fromkeys(name for part in parts for name in part))


def all_gather_with_grad(embeddings: Tensor) -> Tensor:
    """The embeddings of all processes, with gradients to each of them; for losses in a training loop of one's own.

    Each process then computes the whole loss. Backward adds up what the W processes send to each embedding: W times the
    gradient of the loss. The average over processes, which DistributedDataParallel takes, makes that the gradient of
    one process on the whole batch; a loop that sums gradients instead gets W times as much.

    Args:
        embeddings: (N, D), with the same N, D and dtype on every process; this is not checked, which would cost an
            exchange of its own. All processes must call it, and those that call backward must all do so.
    Returns:
        (W * N, D) in the order of the ranks; the embeddings themselves without a process group.
    """
    return embeddings if world_size() == 1 else _Gather.apply(embeddings).flatten(0, 1)


def all_reduce_sum_with_grad(value: Tensor) -> Tensor:
    """The sum of a tensor over all devices, with gradients to each of them."""
    return value if world_size() == 1 else _Sum.apply(value)


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """The mean of every gradient over the devices, in one exchange per kind of number."""
    if world_size() == 1:
        return
    # The graph is the same on all devices, so the same parameters have a gradient.
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
    """The largest of the devices' numbers."""
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
    """End the process group once every process has come here.

    A process that exits while another still holds a connection to it, or with its own open, may be aborted.
    """
    if world_size() > 1:
        dist.barrier()
        dist.destroy_process_group()


def all_gather_step(step: StepOutputs) -> StepOutputs:
    """The step of all devices, its images in the order of the devices; `features` stays this device's own.

    Every device must hold equally many images. Without a process group the step is returned as it is.
    """
    if world_size() == 1:
        return step
    index = _global_index(step)
    counts = _counts(len(step.patch_index), index.device)
    order = _join(index, counts).argsort()
    patch_index = _join(index, counts)[order]

    def gathered(tokens: ViewTokens) -> ViewTokens:
        changes: dict[str, Any] = {"blocks": {n: _images(block) for n, block in tokens.blocks.items()}}
        for field in dataclasses.fields(tokens):
            value = getattr(tokens, field.name)
            if field.name in ("features", "blocks") or value is None:
                continue
            if field.name.startswith("patch_") and field.name != "patch_backbone":
                changes[field.name] = _join(value, counts)[order]
            else:
                changes[field.name] = _images(value)
        return dataclasses.replace(tokens, **changes)

    patch_mask = _images(step.patch_mask.to(torch.uint8)).bool()
    return StepOutputs(
        student=gathered(step.student),
        teacher=None if step.teacher is None else gathered(step.teacher),
        student_local=None if step.student_local is None else gathered(step.student_local),
        patch_mask=patch_mask,
        patch_index=patch_index,
        masked_index=patch_mask.flatten().nonzero().flatten(),
        frozen=None if step.frozen is None else gathered(step.frozen),
        same_view=step.same_view,
    )


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of a tensor over all devices; the tensor itself without a process group."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def _images(tensor: Tensor) -> Tensor:
    """(V, B, ...) -> (V, W * B, ...)."""
    return _Gather.apply(tensor).transpose(0, 1).flatten(1, 2)


def _counts(own: int, device: torch.device) -> list[int]:
    count = torch.tensor([own], device=device)
    return [int(part) for part in _Gather.apply(count).flatten()]


def _join(rows: Tensor, counts: list[int]) -> Tensor:
    """(M, ...) with another M on each device -> (sum of them, ...); gathering needs equal shapes, so pad and cut."""
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded = torch.cat([rows, padded[len(rows) :]])
    parts = _Gather.apply(padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _global_index(step: StepOutputs) -> Tensor:
    """Where this device's patch tokens lie in the (V, W * B, N) of all devices."""
    _, images, patches = step.patch_mask.shape
    view = step.patch_index // (images * patches)
    within = step.patch_index % (images * patches)
    return (view * dist.get_world_size() + dist.get_rank()) * images * patches + within
