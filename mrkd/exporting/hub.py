"""A folder in the form of timm's models on the Hugging Face hub: model card, config and weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm

from mrkd.data.augment.views import MEAN, STD
from mrkd.exporting.card import model_card
from mrkd.exporting.trained_backbone import TrainedBackbone
from mrkd.runs.weights import save_backbone
from mrkd.system.files import write_json, write_text


def write_hub(backbone: TrainedBackbone, path: Path) -> None:
    """Write `README.md`, `config.json` and `model.safetensors` to a folder."""
    path.mkdir()
    write_text(path / "README.md", model_card(backbone))
    write_json(
        path / "config.json",
        hub_config(backbone.name, backbone.arguments, size=backbone.size, features=backbone.vit.num_features),
    )
    save_backbone(backbone.vit, path / "model.safetensors", {"format": "pt", **backbone.metadata()})


def hub_config(
    name: str, arguments: Mapping[str, Any], *, size: int, features: int, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """The `config.json` that `timm.create_model("local-dir:...")` reads.

    Args:
        name: timm's name of the architecture.
        arguments: keyword arguments for `timm.create_model`.
        size: side of the images in pixels.
        features: width of the network.
        class_names: names of a classifier's classes, in the order of its outputs.
    """
    # timm reads the number of classes from the config, but not the pooling of every network.
    inner = {key: value for key, value in arguments.items() if key != "num_classes"}
    labels = {"label_names": list(class_names)} if class_names else {}
    return {
        "architecture": name,
        "num_classes": len(class_names),
        "num_features": features,
        "global_pool": "token",
        "model_args": inner,
        **labels,
        "pretrained_cfg": pretrained_cfg(size, classes=len(class_names)),
    }


def pretrained_cfg(size: int, classes: int = 0) -> dict[str, Any]:
    """What timm stores with a model about its images, from which `timm.data.create_transform` makes the transform."""
    return {
        "tag": "mrkd",
        "custom_load": False,
        "input_size": [3, size, size],
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(MEAN),
        "std": list(STD),
        "num_classes": classes,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }


def check_hub(backbone: TrainedBackbone, path: Path) -> float:
    """Load the folder with timm; return the largest difference of features."""
    return backbone.difference(timm.create_model(f"local-dir:{path}", pretrained=True))


def load_hub(backbone: TrainedBackbone, out: Path) -> str:
    """The line of Python that loads the folder."""
    return f'timm.create_model("local-dir:{out}", pretrained=True)'
