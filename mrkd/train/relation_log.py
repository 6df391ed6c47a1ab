"""Record the relations in one fixed batch during training: what a relational loss matches.

Axes: M monitorings, B images, P = B (B - 1) / 2 pairs, i < j, in the order of `torch.pdist`.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.augment.masking import draw_masks
from mrkd.data.augment.views import ViewMaker, denormalize
from mrkd.data.resident import ResidentDataset
from mrkd.model.teacher_student import Network, TeacherStudent
from mrkd.runs.npz import read_npz, write_npz
from mrkd.runs.run import RELATIONS

_SEED = 0
"""Images and views never depend on the run's seed, so that all runs are seen on the same batch."""


class RelationLog:
    """Distances between class tokens of the same images under both networks, in different views.

    The student sees one view, masked as in training, the teacher another, unmasked; a frozen teacher the same one where
    `teacher.views` says so. Training's random numbers are left
    as they were.

    Args:
        train: images to choose from, on the networks' device.
        config: of the run.
        grid: (R, C) patches.
        folder: of the run; gets `relations.npz` with `steps` (M,), `teacher` and `student` (M, P) float32, `views`
            (2, B, 3, S, S) uint8 (teacher's, student's), `patch_mask` (B, R, C) bool, and `labels` (B,) if any.
    """

    def __init__(self, train: ResidentDataset, config: Config, grid: tuple[int, int], folder: Path) -> None:
        self.path = folder / RELATIONS
        generator = torch.Generator().manual_seed(_SEED)
        index = torch.randperm(len(train), generator=generator)[: config.train.relation_images]
        if train.labels is not None:  # sorted by class, relations show as blocks
            index = index[train.labels.cpu()[index].argsort(stable=True)]
        chosen = train.take(index.to(train.images.device))
        with torch.random.fork_rng():
            torch.manual_seed(_SEED)
            self.views, _ = ViewMaker(config.views, config.data.size)(chosen.images)
        if config.teacher.source is not None and config.teacher.views == "same":
            self.views = self.views[[0, 0]]
        masked = dataclasses.replace(config.mask, probability=1.0)
        self.patch_mask = draw_masks((1, len(chosen)), grid, masked, generator)[0]
        shown = denormalize(self.views).cpu().numpy()
        self.fixed = {"views": shown, "patch_mask": self.patch_mask.unflatten(1, grid).numpy()}
        if chosen.labels is not None:
            self.fixed["labels"] = chosen.labels.cpu().numpy()
        self.earlier = self._earlier_record()

    def _earlier_record(self) -> dict[str, np.ndarray] | None:
        """The record of an earlier part of the run; None if it has other images, because settings changed."""
        if not self.path.is_file():
            return None
        found = read_npz(self.path)
        same = all(np.array_equal(found.get(name, ()), value) for name, value in self.fixed.items())
        return found if same else None

    @torch.no_grad()
    def keep(self, pair: TeacherStudent, step: int) -> None:
        """Add the distances after `step` steps. Records of this step or later, from before a resume, are dropped."""
        with torch.compiler.set_stance("force_eager"):  # as in `FeatureMonitor.measure`
            teacher = torch.pdist(
                _class_tokens(pair.teacher, self.views[0], None)
                if pair.frozen is None
                else pair.frozen.embed(self.views[0])
            )
            student = torch.pdist(_class_tokens(pair.network, self.views[1], self.patch_mask.to(self.views.device)))
        new = {
            "steps": np.array([step]),
            "teacher": teacher[None].cpu().numpy(),
            "student": student[None].cpu().numpy(),
        }
        if step > 0 and self.earlier is not None:
            before = self.earlier["steps"] < step
            new = {name: np.concatenate([self.earlier[name][before], value]) for name, value in new.items()}
        self.earlier = new
        write_npz(self.path, {**new, **self.fixed})


def _class_tokens(network: Network, views: Tensor, patch_mask: Tensor | None) -> Tensor:
    """(B, D) float32, without drop path."""
    was_training = network.training
    network.eval()
    no_patch = torch.empty(0, dtype=torch.int64, device=views.device)
    tokens = network.backbone(views, patch_mask, no_patch).cls_tokens.float()
    network.train(was_training)
    return tokens
