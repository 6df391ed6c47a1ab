"""A training run in Python: its settings and numbers, and what can be done with its backbone.

`mrkd.runs.run` is the other side of the same directory: what training writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mrkd.api.directory import Directory
from mrkd.api.metrics import metric_columns
from mrkd.api.notebook import facts_html
from mrkd.cli.options import changed_config
from mrkd.config import Config
from mrkd.config.overrides import changed_only_in, with_other_data
from mrkd.config.source import absolute_source
from mrkd.errors import UserError, nearest
from mrkd.reporting.listing import RunLine, read_line
from mrkd.runs import run as directory
from mrkd.system.files import read_json

if TYPE_CHECKING:  # torch takes seconds to import, and numbers do not need it
    from torch import Tensor

    from mrkd.attention.of_images import ImageAttention
    from mrkd.data.sources.memory import Images, ImagesInMemory
    from mrkd.downstream.embed import Embeddings
    from mrkd.model.backbone import ViT


class Run(Directory):
    """A training run, by its directory; `mrkd.Run("runs/a")` opens one, `mrkd.pretrain` returns one.

    It can be used wherever the path of the directory can. Numbers are read from the files whenever they are asked for,
    so that a run in progress can be followed.

    Args:
        path: a directory written by `pretrain`.
    Raises:
        UserError: there is no run at this path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._directory = directory.RunDirectory(self.path)
        self._held: ImagesInMemory | None = None
        if not self._directory.started:
            raise UserError(f"no run at {self.path}: expected a directory written by mrkd.pretrain or mrkd.compare")

    @property
    def config(self) -> Config:
        """The settings that the run was trained with."""
        return self._directory.config()

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.config.objective.method

    @property
    def seed(self) -> int:
        """Seed of weights, data order, views and masks."""
        return self.config.train.seed

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self._directory.finished

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Everything that was logged: columns of equal length by name, of which `pandas.DataFrame` makes a table.

        `step` is int64; all others are float64, NaN where a number was not logged. The value of a loss term is called
        `terms/NAME`.

        Raises:
            UserError: a line of `metrics.jsonl` is damaged.
        """
        return metric_columns(self._directory.metrics())

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (m,) int64 and values (m,) float64 of one column of `metrics` where it was logged, to be plotted.

        Raises:
            UserError: there is no such column.
        """
        columns = self.metrics
        if name not in columns:
            raise UserError(f"the run has no metric {name!r}: {nearest(name, columns)}")
        logged = ~np.isnan(columns[name])
        return columns["step"][logged], columns[name][logged]

    @property
    def summary(self) -> dict[str, Any] | None:
        """Seconds, memory, device, versions and verdict; None before the training has finished."""
        return self._stored(directory.SUMMARY)

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The results of the last `evaluate`; None if there was none."""
        return self._stored(directory.EVALUATION)

    def evaluate(self, data: Images | None = None, **settings: Any) -> dict[str, Any]:
        """Evaluate the backbone with labels, as `mrkd.evaluate`, and write `evaluation.json`.

        Args:
            data: labelled images, as for `mrkd.pretrain`; the run's own when None.
            settings: of the data or the evaluation, as for `mrkd.pretrain`, such as `evaluation__finetune_epochs=0`.
        Returns:
            The content of `evaluation.json`: for each evaluator its results and protocol.
        Raises:
            UserError: the training has not finished, the data has no labels, or a setting is of another section.
        """
        from mrkd.data.sources.memory import name_source
        from mrkd.evaluation.evaluate_run import evaluate

        config = self.config
        if data is not None:
            source, _held = name_source(data, config.data)  # `_held` keeps images that were given in Python
            if absolute_source(source) != config.data.source:
                config = with_other_data(config, source)
        changed = changed_config(config, **settings)
        return evaluate(self.path, changed_only_in(("data", "evaluation"), config, changed, "evaluate"))

    def backbone(self, checkpoint: str = "backbone") -> ViT:
        """The trained network: timm's ViT in evaluation mode, without a classifier, features (n, D) of images.

        `transform` prepares images for it. timm's own way works as well:
        `timm.data.create_transform(**timm.data.resolve_model_data_config(model))`.

        Args:
            checkpoint: `backbone`, the result of the training; `best`, `last` or a step for one of its checkpoints.
        Raises:
            UserError: there is no such checkpoint, or the training has not finished.
        """
        from mrkd.exporting.hub import pretrained_cfg
        from mrkd.exporting.trained_backbone import TrainedBackbone

        trained = TrainedBackbone.from_run(self.path, checkpoint)
        trained.vit.pretrained_cfg = trained.vit.default_cfg = pretrained_cfg(trained.size)
        return trained.vit

    @property
    def transform(self) -> Callable[[Any], Tensor]:
        """A function from one image (path, PIL image, array or tensor) to the tensor (3, S, S) that `backbone` takes.

        The image is treated as in training: turned upright, its shorter side resized to S, cropped and normalised.
        """
        from mrkd.data.transform import ImageTransform

        data = self.config.data
        return ImageTransform(data.size, data.max_pixels)

    def embed(
        self,
        images: Images | None = None,
        *,
        tokens: Literal["cls", "patch-mean"] = "cls",
        checkpoint: str = "backbone",
        out: str | os.PathLike[str] | None = None,
    ) -> Embeddings:
        """Embed images, or a source of images; the run's own when None. See `mrkd.embed`."""
        from mrkd.downstream.embed import embed

        return embed(self.path, images, out, tokens=tokens, checkpoint=checkpoint)

    def attention(self, images: Images, *, mass: float | None = None, checkpoint: str = "backbone") -> ImageAttention:
        """Attention of the class token on images: arrays, and with `.figure()` a matplotlib figure.

        Args:
            images: at most 64: the path of an image file, a PIL image, an array (H, W, 3) or (n, H, W, 3), a tensor
                (3, H, W) or (n, 3, H, W), a list of these, or a torch data set.
            mass: fraction of the attention that the mask holds; `attention.mass` of the run when None.
            checkpoint: as for `backbone`.
        Raises:
            UserError: something is no image, or there are more than 64.
        """
        from mrkd.attention.of_images import attention_of

        return attention_of(self.path, images, mass=mass, checkpoint=checkpoint)

    def report(self, out: str | os.PathLike[str] | None = None) -> Path:
        """Write the HTML page about the run, and return its path: `report.html` in the directory when `out` is None."""
        from mrkd.reporting.html import report

        return report(self.path, out)

    def __repr__(self) -> str:
        line = self._line()
        facts = [f"{line.method} on {line.data}" if line.method else "", _steps(line), line.verdict, line.state]
        return f"Run({str(self.path)!r}: {', '.join(fact for fact in facts if fact)})"

    def _repr_html_(self) -> str:
        """The run in a few lines, for notebooks."""
        line = self._line()
        facts = {"run": str(self.path), "method": line.method, "data": line.data}
        facts |= {"seed": "" if line.seed is None else str(line.seed), "steps": _steps(line)}
        facts["k-NN"] = "" if line.knn is None else f"{line.knn:.1f} % on held-out training images"
        facts["verdict"] = self._verdict() or line.verdict
        return facts_html({**facts, "state": line.state, "reason": line.reason})

    def _line(self) -> RunLine:
        return read_line(self.path, self.path.name)

    def _verdict(self) -> str:
        """The last verdict in a sentence; empty before the training has finished."""
        try:
            return str((self.summary or {})["verdict"]["sentence"])
        except (KeyError, TypeError, UserError):
            return ""

    def _stored(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return read_json(path) if path.is_file() else None


def _steps(line: RunLine) -> str:
    if line.step is None:
        return ""
    return f"{line.step} of {line.steps} steps" if line.steps else f"{line.step} steps"
