"""Section `teacher`: a frozen teacher to distil from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import require
from mrkd.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A trained network that relations and features are matched to, instead of the average of the student."""

    source: str | None = None
    """Its weights on this machine: a run, an export of one, a folder in timm's form on the hub, a file or folder of
    weights with `teacher.model`, or the timm name of a model whose weights are in the hub's cache. Null is no frozen
    teacher."""
    model: str | None = None
    """The timm name of its architecture, for weights that do not say it themselves."""
    size: int | None = None
    """Side in pixels of the views that it sees; null is the student's, or its own where it takes no other."""
    views: Literal["same", "other"] = setting("same", equal_among_compared=False)
    """Which view of an image the teacher sees: `same`, the view that the student sees, but unmasked; or `other`, each
    of the other views. Patches are always matched within the same view."""

    def __post_init__(self) -> None:
        require(self.size is None or self.size >= 8, f"teacher.size must be at least 8 pixels, got {self.size}")
        if self.source is None:
            for name in ("model", "size"):
                require(getattr(self, name) is None, f"teacher.{name} is about a teacher: give teacher.source, too")
