"""A run's networks as files: the teacher's backbone that plain timm loads, and the teacher inside a checkpoint."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mrkd.errors import UserError
from mrkd.model.backbone import ViT, create_vit
from mrkd.model.head import Head
from mrkd.runs.checkpoint import Checkpoint, Checkpoints
from mrkd.runs.run import BACKBONE, CHECKPOINTS, RunDirectory
from mrkd.system.files import require_utf8, write_bytes


def save_tensors(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write named tensors as safetensors, atomically; `metadata` goes into the file's header.

    Equal tensors and metadata give equal bytes.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_bytes(path, _with_sorted_metadata(save(plain, metadata=metadata)))


def _with_sorted_metadata(content: bytes) -> bytes:
    """The same safetensors file with sorted metadata, whose order the library draws anew each time.

    A file is the length of its header in 8 bytes, the header as JSON, padded to a multiple of 8 bytes, and the tensors.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def save_backbone(vit: ViT, path: Path, metadata: dict[str, str]) -> None:
    """Write the ViT's weights atomically, in timm's own parameter names."""
    save_tensors(vit.state_dict(), path, metadata)


def load_backbone(run: RunDirectory, checkpoint: str = "backbone") -> ViT:
    """The run's teacher backbone, in evaluation mode, without gradients.

    Args:
        run: a run directory.
        checkpoint: `backbone` for what training wrote at its end; `best`, `last` or a step for a checkpoint.
    Raises:
        UserError: there is no such file, or it is damaged or of another network.
    """
    config = run.config()
    vit = create_vit(config.model, config.data.size)
    if checkpoint == "backbone":
        _load_strictly(vit, _final_backbone(run), run.path / BACKBONE)
    else:
        chosen = find_checkpoint(run, checkpoint)
        _load_strictly(vit, _part(_teacher(chosen), "backbone.vit."), chosen.path)
    return vit.eval().requires_grad_(False)


def load_head(run: RunDirectory, checkpoint: str = "backbone") -> Head:
    """The teacher's projection head, in evaluation mode; it is in checkpoints only, `backbone` stands for the last.

    Raises:
        UserError: the method has no head, or there is no such checkpoint.
    """
    config = run.config()
    chosen = find_checkpoint(run, "last" if checkpoint == "backbone" else checkpoint)
    state = _part(_teacher(chosen), "head.")
    if not state:
        raise UserError(f"the method {config.objective.method} has no projection head: leave out --head")
    head = Head(create_vit(config.model, config.data.size).embed_dim, config.head)
    _load_strictly(head, state, chosen.path)
    return head.eval().requires_grad_(False)


def open_run(path: str | os.PathLike[str], checkpoint: str = "backbone") -> RunDirectory:
    """The run whose weights are asked for: a finished one for `backbone`, any with a checkpoint otherwise.

    Raises:
        UserError: there is none.
    """
    if checkpoint == "backbone":
        return RunDirectory.open(path)
    run = RunDirectory(path)
    if not run.started:
        raise UserError(f"no run at {path}: expected a directory written by 'mrkd pretrain'")
    find_checkpoint(run, checkpoint)
    return run


def find_checkpoint(run: RunDirectory, name: str) -> Checkpoint:
    """The checkpoint called `best`, `last`, or by its step, such as `500` or `step-500`.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    listed = Checkpoints(run.path / CHECKPOINTS, keep=1).listed()
    step = name.removeprefix("step").strip("- =")
    if name in ("best", "last"):
        found = [checkpoint for checkpoint in listed if checkpoint.best or name == "last"]
    elif step.isdecimal():
        found = [checkpoint for checkpoint in listed if checkpoint.step == int(step)]
    else:
        raise UserError(f"the checkpoint must be backbone, best, last or a step, got {name!r}")
    if not found:
        shown = ", ".join(f"{checkpoint.step}{' (best)' * checkpoint.best}" for checkpoint in listed)
        raise UserError(f"{run.path} has no checkpoint {name!r}; its steps: {shown or 'none'}")
    return found[-1]


def _final_backbone(run: RunDirectory) -> dict[str, Tensor]:
    path = run.path / BACKBONE
    require_utf8(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} must be a file: restore it, or remove it and train again")
    try:
        return load_file(str(path))
    except FileNotFoundError:
        raise UserError(f"{run.path} holds no {BACKBONE}") from None
    except Exception as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _teacher(checkpoint: Checkpoint) -> dict[str, Tensor]:
    try:
        return checkpoint.read()["teacher"]
    except UserError as error:
        raise UserError(f"{checkpoint.path} is damaged: {error}") from None


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _load_strictly(module: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit the run's settings: {reason}") from None
