"""The losses: each takes tensors and returns a scalar. They use nothing else of the package but its errors."""

from mrkd.losses.angle import rkd_angle, rkd_angle_sampled
from mrkd.losses.contrastive import nt_xent, vicreg
from mrkd.losses.distance import rkd_distance
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.features import attention_transfer, hint
from mrkd.losses.regularizers import koleo, variance_hinge
from mrkd.losses.relations import cckd, cka, dark_rank, gram, pkt, relation, relation_softmax, spkd, structural

__all__ = [
    "attention_transfer",
    "cckd",
    "cka",
    "cls_cross_entropy",
    "dark_rank",
    "gram",
    "hint",
    "koleo",
    "nt_xent",
    "patch_cross_entropy",
    "pkt",
    "relation",
    "relation_softmax",
    "rkd_angle",
    "rkd_angle_sampled",
    "rkd_distance",
    "spkd",
    "structural",
    "variance_hinge",
    "vicreg",
]
