"""Weights to start from: a plain timm file on the disk, a finished run, or what was exported from one."""

import sys
from pathlib import Path
from typing import Any

from timm.models import load_state_dict, vision_transformer
from torch import Tensor, nn

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
    path = weights_file(Path(source).expanduser(), "model.weights")
    state = {
        name: tensor
        for name, tensor in read_state(vit, path, "model.weights").items()
        if not name.startswith(CLASSIFIER)
    }
    if "norm.weight" not in state:
        # Networks that classify by the mean of the tokens have their last norm behind it.
        state = {name.removeprefix("fc_") if name in POOLED_NORM else name: part for name, part in state.items()}
    if problem := misfit(vit.state_dict(), state):
        raise UserError(f"model.weights: {path} does not fit the network: {problem}; set model.name to its timm name")
    vit.load_state_dict(state)


def read_state(network: nn.Module, path: Path, setting: str) -> dict[str, Any]:
    """The tensors of a file under the network's own names; position embeddings are resampled to its grid.

    Args:
        network: a timm model.
        path: of a safetensors, .pth, .pt or .bin file.
        setting: that named the file, for errors.
    Raises:
        UserError: the file is damaged or holds something else.
    """
    try:
        # Nothing but tensors and plain values is ever unpickled. timm also knows how others call their weights.
        loaded: dict[str, Any] = load_state_dict(str(path), device="cpu", weights_only=True)
        return _under_own_names(network, loaded)
    except OSError:
        raise  # such as a file that may not be read
    except Exception as error:  # whatever torch, safetensors or the conversion stumble over in a file of another kind
        raise UserError(
            f"{setting}: cannot read {path} as weights of a timm model: expected a safetensors file, or a .pth, .pt "
            "or .bin file of nothing but tensors and plain values; this one is damaged or something else"
        ) from error


def _under_own_names(network: nn.Module, loaded: dict[str, Any]) -> dict[str, Any]:
    if isinstance(network, vision_transformer.VisionTransformer):
        return vision_transformer.checkpoint_filter_fn(loaded, network, adapt_layer_scale=True)
    module = sys.modules[type(network).__module__]  # each of timm's families has its own function, or needs none
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return loaded
    try:
        return convert(loaded, network)
    except (LookupError, AttributeError, TypeError, ValueError):  # it looks for names that another network lacks
        return loaded


def weights_file(path: Path, setting: str) -> Path:
    """The file itself, or the one in a folder that holds weights; the setting that named it is for errors.

    Raises:
        UserError: there is none.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{setting} must be an existing file or folder, got {path}")
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{setting}: the folder {path} holds none of {', '.join(FOLDER_FILES)}")


def misfit(expected: dict[str, Tensor], got: dict[str, Any]) -> str:
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
