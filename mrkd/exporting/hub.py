"""A folder in the form of timm's models on the Hugging Face hub: model card, config and weights."""

from pathlib import Path
from typing import Any

import timm

from mrkd.data.views import MEAN, STD
from mrkd.exporting.card import model_card
from mrkd.exporting.subject import Subject
from mrkd.model.export import save_backbone
from mrkd.run import write_json, write_text


def write_hub(subject: Subject, path: Path) -> None:
    """`README.md`, `config.json` and `model.safetensors`."""
    path.mkdir()
    write_text(path / "README.md", model_card(subject))
    write_json(path / "config.json", hub_config(subject))
    save_backbone(subject.vit, path / "model.safetensors", {"format": "pt", **subject.metadata()})


def hub_config(subject: Subject) -> dict[str, Any]:
    """What `timm.create_model("local-dir:...")` reads."""
    inner = {key: value for key, value in subject.arguments.items() if key not in ("num_classes", "global_pool")}
    return {
        "architecture": subject.name,
        "num_classes": 0,
        "num_features": subject.vit.num_features,
        "global_pool": "token",
        "model_args": inner,
        "pretrained_cfg": {
            "tag": "mrkd",
            "custom_load": False,
            "input_size": [3, subject.size, subject.size],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(MEAN),
            "std": list(STD),
            "num_classes": 0,
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
