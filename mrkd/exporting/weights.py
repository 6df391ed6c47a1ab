"""Forms that hold named tensors: for timm, for anything that reads safetensors, for plain torch."""

import io
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

from mrkd.exporting.subject import Subject, call
from mrkd.runs.weights import load_head, save_backbone, save_tensors
from mrkd.system.files import write_bytes

EXACT = 1e-5
"""Tolerance for forms that hold the same numbers and run the same code."""


def write_timm(subject: Subject, path: Path) -> None:
    """Safetensors in timm's parameter names."""
    save_backbone(subject.vit, path, subject.metadata())


def check_timm(subject: Subject, path: Path) -> float:
    """Loaded as a user of plain timm would."""
    return subject.difference(timm.create_model(subject.name, checkpoint_path=str(path), **subject.arguments))


def load_timm(subject: Subject, out: Path) -> str:
    """The line to copy."""
    return call(subject.name, {"checkpoint_path": str(out)}, subject.arguments)


def check_safetensors(subject: Subject, path: Path) -> float:
    """Loaded as tensors, then strictly into the architecture."""
    vit = timm.create_model(subject.name, **subject.arguments)
    vit.load_state_dict(load_file(str(path)))
    return subject.difference(vit)


def load_safetensors(subject: Subject, out: Path) -> str:
    """The line to copy."""
    return f'safetensors.torch.load_file("{out}")'


def write_torch(subject: Subject, path: Path) -> None:
    """A dictionary of tensors and plain values, which `torch.load(weights_only=True)` reads."""
    state = {name: tensor.cpu().clone() for name, tensor in subject.vit.state_dict().items()}
    buffer = io.BytesIO()
    torch.save({"state_dict": state, **subject.metadata(), "timm_arguments": subject.arguments}, buffer)
    write_bytes(path, buffer.getbuffer())


def check_torch(subject: Subject, path: Path) -> float:
    """Made again from nothing but the file."""
    saved = torch.load(path, weights_only=True)
    vit = timm.create_model(saved["timm_name"], **saved["timm_arguments"])
    vit.load_state_dict(saved["state_dict"])
    return subject.difference(vit)


def load_torch(subject: Subject, out: Path) -> str:
    """The line to copy."""
    return f'torch.load("{out}", weights_only=True)["state_dict"]'


def write_head(subject: Subject, path: Path) -> float:
    """The teacher's projection head as safetensors, read back; returns the largest difference of its logits.

    Raises:
        UserError: the method has no head.
    """
    head, settings = load_head(subject.run, subject.checkpoint), subject.config.head
    metadata = {name: str(getattr(settings, name)) for name in ("prototypes", "hidden", "bottleneck", "layers", "norm")}
    save_tensors(head.state_dict(), path, {**metadata, "width": str(subject.vit.embed_dim)})
    with torch.no_grad():
        before = head(subject.expected).logits
        head.load_state_dict(load_file(str(path)))
        return (head(subject.expected).logits - before).abs().max().item()
