"""Loss terms: tensors in, scalar out."""

from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.regularizers import koleo
from mrkd.losses.relational import rkd_angle, rkd_angle_sampled, rkd_distance, structural

__all__ = [
    "cls_cross_entropy",
    "koleo",
    "patch_cross_entropy",
    "rkd_angle",
    "rkd_angle_sampled",
    "rkd_distance",
    "structural",
]
