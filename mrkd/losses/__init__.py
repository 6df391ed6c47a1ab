"""The losses: each takes tensors and returns a scalar. They import nothing else of the package except `mrkd.errors`."""

from mrkd.losses.angle import rkd_angle, rkd_angle_sampled
from mrkd.losses.contrastive import barlow_twins, nt_xent, vicreg
from mrkd.losses.distance import rkd_distance
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.features import attention_transfer, byol, dist, hint
from mrkd.losses.lejepa import lejepa, sigreg
from mrkd.losses.regularizers import koleo, variance_hinge
from mrkd.losses.relations import cckd, cka, dark_rank, gram, pkt, relation, relation_softmax, spkd, structural
from mrkd.losses.simdino import coding_rate, simdino

__all__ = [
    "attention_transfer",
    "barlow_twins",
    "byol",
    "cckd",
    "cka",
    "cls_cross_entropy",
    "coding_rate",
    "dark_rank",
    "dist",
    "gram",
    "hint",
    "koleo",
    "lejepa",
    "nt_xent",
    "patch_cross_entropy",
    "pkt",
    "relation",
    "relation_softmax",
    "rkd_angle",
    "rkd_angle_sampled",
    "rkd_distance",
    "sigreg",
    "simdino",
    "spkd",
    "structural",
    "variance_hinge",
    "vicreg",
]
