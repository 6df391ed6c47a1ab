"""Load the frozen teacher: from a run, an export, a file or folder of weights, or a timm model in the local caches."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from timm.models import get_pretrained_cfg
from torch import nn

from mrkd.config import TeacherConfig
from mrkd.data.augment.views import MEAN, STD
from mrkd.errors import UserError, nearest
from mrkd.model.backbone import timm_arguments
from mrkd.model.frozen_teacher import Preparation, TrainedNetwork
from mrkd.runs.initial_weights import misfit, read_state, weights_file
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone, open_run

HUB_CONFIG = "config.json"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def open_teacher(config: TeacherConfig) -> TrainedNetwork:
    """The network that `teacher.source` names, with its weights.

    Raises:
        UserError: it is not on this machine, its architecture is not known, or its weights do not fit.
    """
    assert config.source is not None
    path = Path(config.source).expanduser()
    if not path.exists():
        return _by_name(config.source, config.model)
    if RunDirectory(path).started:
        return _of_run(path, config)
    if (path / HUB_CONFIG).is_file():
        return _of_hub_folder(path, config)
    file = weights_file(path, "teacher.source")
    said = _description(file)
    if "timm_name" in said:
        _check_unnamed(config, said["timm_name"])
        arguments = said["timm_arguments"]
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        network = _made(said["timm_name"], **arguments)
        mean, std = (
            json.loads(said.get(name, json.dumps(default))) for name, default in (("mean", MEAN), ("std", STD))
        )
        preparation = Preparation(mean=tuple(mean), std=tuple(std), size=int(said["img_size"]), any_size=True)
        return _filled(network, file, config.source, said["timm_name"], preparation)
    if config.model is None:
        raise UserError(f"{file} does not say what network it is of: set teacher.model to its timm name")
    return _filled(_made(config.model), file, config.source, config.model)


def sha256_of(network: nn.Module) -> str:
    """Of the names, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _of_run(path: Path, config: TeacherConfig) -> TrainedNetwork:
    run = open_run(path)
    settings = run.config()
    name, _ = timm_arguments(settings.model, settings.data.size)
    _check_unnamed(config, name)
    network = load_backbone(run)
    preparation = Preparation(mean=MEAN, std=STD, size=settings.data.size, any_size=True)
    return TrainedNetwork(
        network=network, preparation=preparation, source=str(path), name=name, sha256=sha256_of(network)
    )


def _of_hub_folder(path: Path, config: TeacherConfig) -> TrainedNetwork:
    try:
        said = json.loads((path / HUB_CONFIG).read_text(encoding="utf-8"))
        name = said["architecture"]
    except (ValueError, LookupError, TypeError):
        raise UserError(
            f"{path / HUB_CONFIG} names no architecture of timm: expected a folder in timm's form, such as "
            "timm.models.save_for_hf writes; or set teacher.source to its file of weights and teacher.model"
        ) from None
    _check_unnamed(config, name)
    return _filled(_made(f"local-dir:{path}"), weights_file(path, "teacher.source"), str(path), name)


def _by_name(name: str, model: str | None) -> TrainedNetwork:
    """A model of timm whose weights were downloaded before."""
    if "/" in name or name.endswith(SUFFIXES):
        raise UserError(f"teacher.source: there is no file or folder {name}")
    network = _made(name)
    if model is not None:
        raise UserError(f"teacher.source names the timm model {name}: leave out teacher.model, or give a file")
    return _filled(network, _cached_file(name), name, name)


def _cached_file(name: str) -> Path:
    """Where timm or the hub keep the weights of a model; nothing is downloaded."""
    known = get_pretrained_cfg(name)
    found: Any = None
    if known is not None and known.hf_hub_id and importlib.util.find_spec("huggingface_hub"):  # timm does without, too
        from huggingface_hub import try_to_load_from_cache

        for file in [known.hf_hub_filename] if known.hf_hub_filename else HUB_FILES:
            found = found or try_to_load_from_cache(known.hf_hub_id, file)
    if isinstance(found, str):
        return Path(found)
    if known is not None and known.url:
        by_url = Path(torch.hub.get_dir()) / "checkpoints" / known.url.rpartition("/")[2]
        if by_url.is_file():
            return by_url
    place = "" if known is None or not known.hf_hub_id else f" (once: hf download {known.hf_hub_id})"
    raise UserError(f"the weights of {name} are not on this machine{place}: download them, or give a file or folder")


def _made(name: str, **arguments: Any) -> nn.Module:
    """The architecture with random weights, without a classifier."""
    plain = name.partition(".")[0]
    if not name.startswith("local-dir:") and not timm.is_model(plain):
        raise UserError(f"unknown timm model {plain!r}: {nearest(plain, timm.list_models())}")
    try:
        return timm.create_model(name, pretrained=False, **{**arguments, "num_classes": 0})
    except Exception as error:  # whatever timm says of arguments that do not fit, or of a tag that does not exist
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"timm cannot make the teacher {name}: {reason}") from None


def _filled(
    network: nn.Module, file: Path, source: str, name: str, preparation: Preparation | None = None
) -> TrainedNetwork:
    """The network with the weights of a file, every one of them."""
    described: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    state = read_state(network, file, "teacher.source")
    expected = network.state_dict()
    classifier = described.get("classifier") or "head"
    starts = tuple(f"{part}." for part in ([classifier] if isinstance(classifier, str) else classifier))
    if all(key.startswith(starts) for key in state):
        held = ", ".join(list(state)[:3]) or "nothing"
        raise UserError(f"{file} holds no weight of {name} but its classifier's, {held}: give all of it")
    state = {key: tensor for key, tensor in state.items() if key in expected or not key.startswith(starts)}
    if problem := misfit(expected, state):
        raise UserError(f"{file} does not fit {name}: {problem}; set teacher.model to its timm name")
    network.load_state_dict(state)
    return TrainedNetwork(
        network=network.eval().requires_grad_(False),
        preparation=preparation or Preparation.of(described),
        source=source,
        name=name,
        sha256=sha256_of(network),
    )


def _check_unnamed(config: TeacherConfig, name: str) -> None:
    if config.model is not None and config.model != name:
        raise UserError(f"{config.source} says that it is {name}, got teacher.model {config.model}: leave that out")


def _description(file: Path) -> dict[str, Any]:
    """What an export of ours says of itself; empty for other files."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(str(file), framework="pt") as opened:
                return opened.metadata() or {}
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except OSError:
        raise
    except Exception:  # reading the weights says what is wrong with the file
        return {}
    return loaded if isinstance(loaded, dict) else {}
