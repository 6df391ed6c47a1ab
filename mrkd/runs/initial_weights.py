"""Load the weights that a training starts from: a file of a timm ViT or of another training, a run, or an export."""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.models import clean_state_dict, eva, vision_transformer
from torch import Tensor, nn

from mrkd.errors import UserError
from mrkd.model.backbone import ViT
from mrkd.runs.run import BACKBONE
from mrkd.system.files import require_utf8

FOLDER_FILES = (BACKBONE, "model.safetensors", "pytorch_model.bin")
"""What is looked for in a folder: a run's backbone, then what the hub's folders hold."""
LEFT_OUT = re.compile(
    r"(heads?|head_\w+|\w+_head|fc|classifier|attn_pool|mask_token|mask(ed)?_embed|\w*projector|\w*predictor"
    r"|prototypes?|decoder\w*)(\.|$)"
)
"""Names beside a backbone's own that say nothing of its features: classifiers, heads, mask tokens, decoders."""
POOLED_NORM = ("fc_norm.weight", "fc_norm.bias")
SHOWN = 4
_MARK = "patch_embed.proj.weight"
"""Every ViT that is read has it once; what stands before it stands before all names of that network."""
_TEACHER = re.compile(r"teacher|ema\b|ema_|momentum|target")
_STUDENT = re.compile(r"student|online")
_STATE_KEYS = ("state_dict_ema", "state_dict", "model_ema", "model")
"""Where training scripts keep the tensors of a network in their checkpoints, the best first."""
_SETTING = "model.weights"
_DEEPEST = 4
"""Dictionaries inside dictionaries are looked into this far."""


@dataclass(frozen=True, kw_only=True)
class _Network:
    """A ViT's tensors inside a file."""

    where: str
    """What stands before their names, the keys of dictionaries with a dot."""
    tensors: dict[str, Any]
    """By their names inside the network."""


def load_weights(vit: ViT, source: str) -> str:
    """Copy weights into a ViT, all of its own names; position embeddings (and patches) are resampled to its grid.

    The network is found inside checkpoints of other trainings: below `teacher`, `student`, `model` or `state_dict`, and
    behind prefixes such as `module.` or `student.backbone.`. A teacher comes before a student.

    Args:
        vit: the network to fill.
        source: a `.safetensors`, `.pth`, `.pt`, `.ckpt` or `.bin` file of a ViT, or a folder that holds one.
    Returns:
        One line about where the network was found and what was left out; empty for a file of this network alone.
    Raises:
        UserError: no such file, it is damaged, or a name of the network is missing, unknown or of another shape.
    """
    path = weights_file(Path(source).expanduser(), _SETTING)
    tree = _read(path, _SETTING)
    networks = sorted(_networks(tree), key=_preference)
    chosen = networks[0] if networks else _Network(where="", tensors=clean_state_dict(tree))
    expected = vit.state_dict()
    extra = [name for name in chosen.tensors if LEFT_OUT.match(name) and name not in expected]
    converted = _converted(vit, chosen.tensors, path, _SETTING)
    state = {name: tensor for name, tensor in converted.items() if name not in extra}
    if "norm.weight" not in state:
        # Networks that classify by the mean of the tokens have their last norm behind it.
        state = {name.removeprefix("fc_") if name in POOLED_NORM else name: part for name, part in state.items()}
    if problem := misfit(expected, state):
        raise UserError(f"model.weights: {path} does not fit the network: {problem}; set model.name to its timm name")
    vit.load_state_dict(state)
    others = [name for name in _tensor_names(tree) if not name.startswith(chosen.where)] if networks else []
    return _note(path, chosen.where, [*(chosen.where + name for name in extra), *others])


def read_state(network: nn.Module, path: Path, setting: str) -> dict[str, Any]:
    """The tensors of a file under the names of a timm model of any kind; position embeddings are resampled to its grid.

    A ViT is found inside checkpoints of other trainings, as `load_weights` finds it.

    Args:
        network: the model.
        path: a file as `load_weights` reads it.
        setting: the setting that named the file, for errors.
    Raises:
        UserError: the file is damaged or holds something else.
    """
    tree = _read(path, setting)
    networks = sorted(_networks(tree), key=_preference) if _MARK in network.state_dict() else []
    if networks:
        return _converted(network, networks[0].tensors, path, setting)
    inner = next((tree[name] for name in _STATE_KEYS if isinstance(tree.get(name), Mapping)), tree)
    return _converted(network, clean_state_dict(dict(inner)), path, setting)


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


def _read(path: Path, setting: str) -> Mapping[str, Any]:
    """What a file holds. Nothing but tensors, plain values and the options of a command line is ever unpickled."""
    require_utf8(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        with torch.serialization.safe_globals([argparse.Namespace]):  # DINO and iBOT keep their options
            tree = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tree, Mapping):
            raise TypeError
        return tree
    except OSError:
        raise  # such as a file that may not be read
    except Exception as error:  # whatever torch and safetensors stumble over in a file of another kind
        raise _unreadable(path, setting, error) from error


def _unreadable(path: Path, setting: str, error: Exception) -> UserError:
    found = re.search(r"GLOBAL (\S+)", str(error))
    reason = f"this one holds a {found[1]}: save its state_dict alone" if found else "this one is damaged or another"
    return UserError(
        f"{setting}: cannot read {path} as weights of a timm model: expected a safetensors file, or a .pth, .pt, .ckpt "
        f"or .bin file of nothing but tensors and plain values; {reason}"
    )


def _networks(tree: Mapping[str, Any], where: str = "", depth: int = 0) -> Iterator[_Network]:
    """Every ViT in a file, wherever it lies."""
    for mark in [name for name in tree if isinstance(name, str) and name.endswith(_MARK)]:
        prefix = mark.removesuffix(_MARK)
        own = {name: part for name, part in tree.items() if isinstance(part, Tensor) and name.startswith(prefix)}
        if not prefix or prefix.endswith("."):
            tensors = {name.removeprefix(prefix): part for name, part in own.items()}
            yield _Network(where=where + prefix, tensors=tensors)
    for name, part in tree.items():
        if isinstance(part, Mapping) and depth < _DEEPEST:
            yield from _networks(part, f"{where}{name}.", depth + 1)


def _preference(network: _Network) -> tuple[bool, bool, int]:
    """Teachers come first and students last; then what is nearest to the top."""
    where = network.where
    return _TEACHER.search(where) is None, _STUDENT.search(where) is not None, where.count(".")


def _converted(network: nn.Module, tensors: Mapping[str, Any], path: Path, setting: str) -> dict[str, Any]:
    """Under timm's names, which knows how others call their weights, and for the network's grid of patches."""
    try:
        if isinstance(network, eva.Eva):
            return eva.checkpoint_filter_fn(dict(tensors), network)
        if isinstance(network, vision_transformer.VisionTransformer):
            return vision_transformer.checkpoint_filter_fn(dict(tensors), network, adapt_layer_scale=True)
        return _converted_by_family(network, dict(tensors))
    except Exception as error:  # whatever the conversion stumbles over in tensors of another kind
        raise _unreadable(path, setting, error) from error


def _converted_by_family(network: nn.Module, tensors: dict[str, Any]) -> dict[str, Any]:
    module = sys.modules[type(network).__module__]  # each of timm's families has its own function, or needs none
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return convert(tensors, network)
    except (LookupError, AttributeError, TypeError, ValueError):  # it looks for names that another network lacks
        return tensors


def _tensor_names(tree: Mapping[str, Any], where: str = "", depth: int = 0) -> Iterator[str]:
    """Names of all tensors, those in dictionaries with the keys before them."""
    for name, part in tree.items():
        if isinstance(part, Tensor):
            yield f"{where}{name}"
        elif isinstance(part, Mapping) and depth < _DEEPEST:
            yield from _tensor_names(part, f"{where}{name}.", depth + 1)


def _group(name: str, where: str) -> str:
    """The start of a name, as far as it differs from where the network is: `teacher.head` beside `teacher.backbone`."""
    parts, own = name.split("."), where.split(".")
    shared = next((place for place, pair in enumerate(zip(parts, own, strict=False)) if pair[0] != pair[1]), 0)
    return ".".join(parts[: shared + 1])


def _note(path: Path, where: str, left_out: Iterable[str]) -> str:
    groups = list(dict.fromkeys(_group(name, where) for name in left_out))
    if not groups and not where:
        return ""
    place = f" below {where.rstrip('.')!r}" if where else ""
    rest = f"; left out: {', '.join(groups[:SHOWN])}{', …' * (len(groups) > SHOWN)}" if groups else ""
    return f"weights: the network{place} in {path}{rest}"


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
