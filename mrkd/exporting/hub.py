"""A folder in the form of timm's models on the Hugging Face hub: model card, config and weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm

from mrkd.data.augment.views import MEAN, STD
from mrkd.exporting.card import model_card
from mrkd.exporting.subject import Subject
from mrkd.runs.weights import save_backbone
from mrkd.system.files import write_json, write_text


def write_hub(subject: Subject, path: Path) -> None:
    """`README.md`, `config.json` and `model.safetensors`."""
    path.mkdir()
    write_text(path / "README.md", model_card(subject))
    write_json(
        path / "config.json",
        hub_config(subject.name, subject.arguments, size=subject.size, features=subject.vit.num_features),
    )
    save_backbone(subject.vit, path / "model.safetensors", {"format": "pt", **subject.metadata()})


def hub_config(
    name: str, arguments: Mapping[str, Any], *, size: int, features: int, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """What `timm.create_model("local-dir:...")` reads.

    Args:
        name: timm's name of the architecture.
        arguments: of `timm.create_model`.
        size: side of the images in pixels.
        features: width of the network.
        class_names: of a classifier, in the order of its outputs.
    """
    # timm takes the number of classes from the config itself, but not every network's pooling.
    inner = {key: value for key, value in arguments.items() if key != "num_classes"}
    labels = {"label_names": list(class_names)} if class_names else {}
    return {
        "architecture": name,
        "num_classes": len(class_names),
        "num_features": features,
        "global_pool": "token",
        "model_args": inner,
        **labels,
        "pretrained_cfg": {
            "tag": "mrkd",
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(MEAN),
            "std": list(STD),
            "num_classes": len(class_names),
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def check_hub(subject: Subject, path: Path) -> float:
    """Opened by timm as a local model."""
    return subject.difference(timm.create_model(f"local-dir:{path}", pretrained=True))


def load_hub(subject: Subject, out: Path) -> str:
    """The line to copy."""
    return f'timm.create_model("local-dir:{out}", pretrained=True)'
