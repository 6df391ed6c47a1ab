"""Weights to start from: a plain timm file on the disk, a finished run, or what was exported from one."""

from pathlib import Path
from typing import Any

from timm.models import eva, load_state_dict, vision_transformer
from torch import Tensor

from mrkd.errors import UserError
from mrkd.model.backbone import ViT
from mrkd.runs.run import BACKBONE

FOLDER_FILES = (BACKBONE, "model.safetensors", "pytorch_model.bin")
"""What is looked for in a folder: a run's backbone, then what the hub's folders hold."""
CLASSIFIER = ("head.", "head_dist.", "attn_pool.")
"""Starts of the names of a classifier's weights, and of what pools tokens for it, which are not used."""
POOLED_NORM = ("fc_norm.weight", "fc_norm.bias")
SHOWN = 4


def load_weights(vit: ViT, source: str) -> None:
    """Copy weights into a ViT, strictly; position embeddings (and patches) are resampled to its grid.

    Args:
        vit: the network to fill.
        source: a `.safetensors`, `.pth`, `.pt` or `.bin` file of a timm ViT, or a folder that holds one.
    Raises:
        UserError: no such file, it is damaged, or a name is missing, unknown or of another shape.
    """
    path = _file(Path(source).expanduser())
    try:
        # Nothing but tensors and plain values is ever unpickled. timm also knows how other ViTs call their weights.
        loaded: dict[str, Any] = load_state_dict(str(path), device="cpu", weights_only=True)
        if isinstance(vit, eva.Eva):
            state = eva.checkpoint_filter_fn(loaded, vit)
        else:
            state = vision_transformer.checkpoint_filter_fn(loaded, vit, adapt_layer_scale=True)
    except OSError:
        raise  # such as a file that may not be read
    except Exception as error:  # whatever torch, safetensors or the conversion stumble over in a file of another kind
        raise UserError(
            f"model.weights: cannot read {path} as weights of a timm ViT: expected a safetensors file, or a .pth, .pt "
            "or .bin file of nothing but tensors and plain values; this one is damaged or something else"
        ) from error
    state = {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIER)}
    if "norm.weight" not in state:
        # Networks that classify by the mean of the tokens have their last norm behind it.
        state = {name.removeprefix("fc_") if name in POOLED_NORM else name: part for name, part in state.items()}
    if problem := _problem(vit.state_dict(), state):
        raise UserError(f"model.weights: {path} does not fit the network: {problem}; set model.name to its timm name")
    vit.load_state_dict(state)


def _file(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"model.weights must be an existing file or folder, got {path}")
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"model.weights: the folder {path} holds none of {', '.join(FOLDER_FILES)}")


def _problem(expected: dict[str, Tensor], got: dict[str, Any]) -> str:
    """What does not fit, in a few words; empty when everything does."""
    parts = []
    for word, names in (
        ("missing", [name for name in expected if name not in got]),
        ("unknown", [name for name in got if name not in expected]),
    ):
        if names:
            parts.append(f"{len(names)} {word} ({', '.join(names[:SHOWN])}{', …' * (len(names) > SHOWN)})")
    for name in expected:  # in the network's own order, so that the same file gets the same words
        if name in got and tuple(got[name].shape) != tuple(expected[name].shape):
            parts.append(f"{name} must have shape {tuple(expected[name].shape)}, got {tuple(got[name].shape)}")
            break
    return ", ".join(parts)
