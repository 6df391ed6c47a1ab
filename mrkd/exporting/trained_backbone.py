"""The backbone to export, and probe images with features that every export must reproduce.

Axes: B images, S pixels, D width.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import timm
import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.augment.views import MEAN, STD, normalize
from mrkd.model.backbone import ViT, timm_arguments
from mrkd.runs.run import EVALUATION, SUMMARY, RunDirectory
from mrkd.runs.weights import load_backbone, open_run
from mrkd.system.files import read_json


@dataclass(frozen=True, kw_only=True)
class TrainedBackbone:
    """The teacher's backbone of a run, with what an export needs to know about it."""

    run: RunDirectory
    config: Config
    checkpoint: str
    """Where the weights come from: `backbone`, `best`, `last` or a step."""
    vit: ViT
    """The network, in evaluation mode."""
    name: str
    """timm's name of the architecture."""
    arguments: dict[str, Any]
    """Keyword arguments for `timm.create_model`."""

    @classmethod
    def from_run(cls, run_path: str | os.PathLike[str], checkpoint: str) -> "TrainedBackbone":
        """Load the backbone of a run.

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
        """Metadata for exported files: how to create the network and how to normalise images."""
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
    def probe_images(self) -> Tensor:
        """(3, 3, S, S) fixed normalised images on which exports are compared."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(3, 3, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(self.size, self.size), mode="bicubic")
        return normalize((smooth + 0.1 * torch.rand(smooth.shape, generator=generator)).clamp(0, 1))

    @cached_property
    def probe_features(self) -> Tensor:
        """(3, D) class tokens of the probe images."""
        with torch.no_grad():
            return self.vit(self.probe_images)

    def difference(self, module: torch.nn.Module) -> float:
        """The largest absolute difference of another network's features on the probe images."""
        with torch.no_grad():
            return (module.eval()(self.probe_images) - self.probe_features).abs().max().item()

    def of_fixed_size(self) -> ViT:
        """The same network for one image size only, as needed for a static graph."""
        arguments = {**self.arguments, "dynamic_img_size": False}
        vit = timm.create_model(self.name, **arguments)
        vit.load_state_dict(self.vit.state_dict())
        return vit.eval().requires_grad_(False)

    def summary(self) -> dict[str, Any] | None:
        """The run's `summary.json`; None if the run is not finished."""
        return read_json(self.run.path / SUMMARY) if self.run.finished else None

    def evaluation(self) -> dict[str, Any] | None:
        """The results of `mrkd evaluate`; None without them, and for a checkpoint, to which they do not apply."""
        path = self.run.path / EVALUATION
        return read_json(path) if self.checkpoint == "backbone" and path.is_file() else None


def create_model_line(name: str, first: dict[str, Any], arguments: dict[str, Any]) -> str:
    """The line of Python that creates the network with timm."""
    words = [repr(name), *(f"{key}={value!r}" for key, value in {**first, **arguments}.items())]
    return f"timm.create_model({', '.join(words)})"
