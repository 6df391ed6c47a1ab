"""Detect collapse of features: RankMe, standard deviation, and a verdict. Axes: n rows, D width, K prototypes."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["healthy", "flat", "not-learning", "falling", "constant", "uniform", "rank"]
"""Kinds of verdicts: three without a problem, one warning, and three collapses."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The state of a run, as a kind and as a sentence."""

    kind: Kind
    sentence: str

    @property
    def collapsed(self) -> bool:
        """Whether the features have collapsed."""
        return self.kind in ("constant", "uniform", "rank")

    @property
    def worrying(self) -> bool:
        """Whether to warn the user at once."""
        return self.collapsed or self.kind == "falling"


def rankme(features: Tensor) -> float:
    """RankMe, the effective rank of features (n, D): exp of the entropy of normalised singular values; in [1, D].

    Source:
        Garrido et al., RankMe, ICML 2023 (arXiv:2210.02885), eq. 1. Features are centred first, because the common
        vector of a ViT's features would otherwise dominate.
    """
    centered = features.float() - features.float().mean(dim=0)
    return effective_rank(torch.linalg.svdvals(centered))


def effective_rank(values: Tensor) -> float:
    """exp of the entropy of values (D,) >= 0 divided by their sum: in [1, D], and D where all are equal."""
    probs = values / values.sum().clamp(min=1e-12) + 1e-7
    return math.exp(-(probs * probs.log()).sum().item())


def feature_std(features: Tensor) -> float:
    """Std of L2-normalised features (n, D), averaged over channels: 0 for constant features, at most 1 / sqrt(D)."""
    return F.normalize(features.float(), dim=1).std(dim=0).mean().item()


def diagnose(*, feature_std: float, rank: float, width: int, teacher_entropy: float | None, prototypes: int) -> Verdict:
    """Detect a collapse from statistics of the features.

    Args:
        feature_std: see `feature_std`.
        rank: RankMe of the features.
        width: number of channels, D.
        teacher_entropy: mean entropy of the teacher's targets, nats; None without prototypes.
        prototypes: number of prototypes, K.
    """
    if feature_std < 1e-4 / math.sqrt(width):
        return Verdict(
            kind="constant",
            sentence="collapse (constant): every image gets the same features; the loss "
            "falls because there is nothing left to tell apart",
        )
    if teacher_entropy is not None and teacher_entropy > 0.98 * math.log(prototypes):
        return Verdict(
            kind="uniform",
            sentence="collapse (uniform): the teacher spreads every image evenly over all "
            "prototypes, so its targets say nothing",
        )
    if rank < max(2.0, 0.04 * width):
        return Verdict(
            kind="rank",
            sentence=f"collapse (rank): features use about {rank:.0f} of {width} directions; "
            "images differ along too few properties",
        )
    return Verdict(kind="healthy", sentence=f"healthy: features use about {rank:.0f} of {width} directions")
