"""Export as named tensors: for timm, as plain safetensors, and for torch."""

import io
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

from mrkd.exporting.trained_backbone import TrainedBackbone, create_model_line
from mrkd.runs.weights import load_head, save_backbone, save_tensors
from mrkd.system.files import write_bytes

EXACT = 1e-5
"""Tolerance for formats with the same weights and the same code."""


def write_timm(backbone: TrainedBackbone, path: Path) -> None:
    """Write safetensors with timm's parameter names."""
    save_backbone(backbone.vit, path, backbone.metadata())


def check_timm(backbone: TrainedBackbone, path: Path) -> float:
    """Load with plain timm; return the largest difference of features."""
    return backbone.difference(timm.create_model(backbone.name, checkpoint_path=str(path), **backbone.arguments))


def load_timm(backbone: TrainedBackbone, out: Path) -> str:
    """The line of Python that loads the file."""
    return create_model_line(backbone.name, {"checkpoint_path": str(out)}, backbone.arguments)


def check_safetensors(backbone: TrainedBackbone, path: Path) -> float:
    """Load the tensors into a new network; return the largest difference of features."""
    vit = timm.create_model(backbone.name, **backbone.arguments)
    vit.load_state_dict(load_file(str(path)))
    return backbone.difference(vit)


def load_safetensors(backbone: TrainedBackbone, out: Path) -> str:
    """The line of Python that loads the file."""
    return f'safetensors.torch.load_file("{out}")'


def write_torch(backbone: TrainedBackbone, path: Path) -> None:
    """Write a dictionary of tensors and plain values for `torch.load(weights_only=True)`."""
    state = {name: tensor.cpu().clone() for name, tensor in backbone.vit.state_dict().items()}
    buffer = io.BytesIO()
    torch.save({"state_dict": state, **backbone.metadata(), "timm_arguments": backbone.arguments}, buffer)
    write_bytes(path, buffer.getbuffer())


def check_torch(backbone: TrainedBackbone, path: Path) -> float:
    """Create the network from the file alone; return the largest difference of features."""
    saved = torch.load(path, weights_only=True)
    vit = timm.create_model(saved["timm_name"], **saved["timm_arguments"])
    vit.load_state_dict(saved["state_dict"])
    return backbone.difference(vit)


def load_torch(backbone: TrainedBackbone, out: Path) -> str:
    """The line of Python that loads the file."""
    return f'torch.load("{out}", weights_only=True)["state_dict"]'


def write_head(backbone: TrainedBackbone, path: Path) -> float:
    """Write the teacher's projection head as safetensors, load it again, and return the largest difference of logits.

    Raises:
        UserError: the method has no head.
    """
    head, settings = load_head(backbone.run, backbone.checkpoint), backbone.config.head
    metadata = {name: str(getattr(settings, name)) for name in ("prototypes", "hidden", "bottleneck", "layers", "norm")}
    save_tensors(head.state_dict(), path, {**metadata, "width": str(backbone.vit.embed_dim)})
    with torch.no_grad():
        before = head(backbone.probe_features).logits
        head.load_state_dict(load_file(str(path)))
        return (head(backbone.probe_features).logits - before).abs().max().item()
