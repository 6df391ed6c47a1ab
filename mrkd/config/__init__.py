"""All settings with their defaults, as frozen dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mrkd.config.checks import require
from mrkd.config.sections.attention import AttentionConfig
from mrkd.config.sections.data import DataConfig
from mrkd.config.sections.distillation import DistillationConfig
from mrkd.config.sections.evaluation import EvaluationConfig
from mrkd.config.sections.head import HeadConfig
from mrkd.config.sections.mask import MaskConfig
from mrkd.config.sections.model import ModelConfig
from mrkd.config.sections.objective import ObjectiveConfig, Space, Term, TokenKind
from mrkd.config.sections.optim import OptimConfig
from mrkd.config.sections.teacher import TeacherConfig
from mrkd.config.sections.train import TrainConfig
from mrkd.config.sections.views import ViewsConfig
from mrkd.config.setting import setting

__all__ = [
    "AttentionConfig",
    "Config",
    "DataConfig",
    "DistillationConfig",
    "EvaluationConfig",
    "HeadConfig",
    "MaskConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "Space",
    "TeacherConfig",
    "Term",
    "TokenKind",
    "TrainConfig",
    "ViewsConfig",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run, by section."""

    data: DataConfig = setting(default_factory=DataConfig, equal_among_compared=True)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    teacher: TeacherConfig = setting(default_factory=TeacherConfig, equal_among_compared=True)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = setting(
        default_factory=EvaluationConfig, resumable=True, equal_among_compared=True, part_of_measurement=True
    )
    attention: AttentionConfig = setting(default_factory=AttentionConfig, resumable=True)

    def __post_init__(self) -> None:
        held_out, images = self.evaluation.heldout_fraction, self.train.monitor_images
        least = math.ceil(1 / held_out)
        require(
            images >= least,
            f"train.monitor_images must be at least {least} with evaluation.heldout_fraction {held_out}, so that one "
            f"is held out, got {images}",
        )
