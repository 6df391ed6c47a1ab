"""What is exported, and what every form of it must reproduce. Axes: B images, S pixels, D width."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.augment.views import MEAN, STD, normalize
from mrkd.model.backbone import ViT, timm_arguments
from mrkd.runs.run import EVALUATION, SUMMARY, Run
from mrkd.runs.weights import load_backbone, open_run
from mrkd.system.files import read_json


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run's teacher backbone on its way out."""

    run: Run
    config: Config
    checkpoint: str
    """`backbone`, `best`, `last` or a step."""
    vit: ViT
    """In evaluation mode."""
    name: str
    """timm's name of the architecture."""
    arguments: dict[str, Any]
    """Keyword arguments of `timm.create_model`."""

    @classmethod
    def of(cls, run_path: str | Path, checkpoint: str) -> "Subject":
        """The backbone of a run.

        Raises:
            UserError: there is no such run or checkpoint.
        """
        run = open_run(run_path, checkpoint)
        config = run.config()
        name, arguments = timm_arguments(config.model, config.data.size)
        vit = load_backbone(run, checkpoint)
        return cls(run=run, config=config, checkpoint=checkpoint, vit=vit, name=name, arguments=arguments)

    @property
    def size(self) -> int:
        """S, the side of the images it was trained on."""
        return self.config.data.size

    def metadata(self) -> dict[str, str]:
        """What a file says about itself: how to make the network and how to prepare images."""
        vit = self.vit
        return {
            "timm_name": self.name,
            "timm_arguments": json.dumps(self.arguments),
            "img_size": str(self.size),
            "patch_size": str(vit.patch_embed.patch_size[0]),
            "embed_dim": str(vit.embed_dim),
            "depth": str(len(vit.blocks)),
            "num_heads": str(vit.blocks[0].attn.num_heads),
            "mean": json.dumps(MEAN),
            "std": json.dumps(STD),
            "method": self.config.objective.method,
            "checkpoint": self.checkpoint,
        }

    @cached_property
    def probe(self) -> Tensor:
        """(3, 3, S, S) normalised images, always the same, on which every form is compared."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(3, 3, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(self.size, self.size), mode="bicubic")
        return normalize((smooth + 0.1 * torch.rand(smooth.shape, generator=generator)).clamp(0, 1))

    @cached_property
    def expected(self) -> Tensor:
        """(3, D) class tokens of the probe."""
        with torch.no_grad():
            return self.vit(self.probe)

    def difference(self, module: torch.nn.Module) -> float:
        """The largest difference of a rebuilt network's features on the probe."""
        with torch.no_grad():
            return (module.eval()(self.probe) - self.expected).abs().max().item()

    def of_fixed_size(self) -> ViT:
        """The same network without the code that adapts to other sizes, which no fixed graph can hold."""
        arguments = {**self.arguments, "dynamic_img_size": False}
        vit = timm.create_model(self.name, **arguments)
        vit.load_state_dict(self.vit.state_dict())
        return vit.eval().requires_grad_(False)

    def summary(self) -> dict[str, Any] | None:
        """What the run says of itself at its end; None before."""
        return read_json(self.run.path / SUMMARY) if self.run.finished else None

    def evaluation(self) -> dict[str, Any] | None:
        """The figures of `mrkd evaluate`; None without them, or for a checkpoint, which they do not describe."""
        path = self.run.path / EVALUATION
        return read_json(path) if self.checkpoint == "backbone" and path.is_file() else None


def call(name: str, first: dict[str, Any], arguments: dict[str, Any]) -> str:
    """The Python line that makes the network with timm."""
    words = [repr(name), *(f"{key}={value!r}" for key, value in {**first, **arguments}.items())]
    return f"timm.create_model({', '.join(words)})"
