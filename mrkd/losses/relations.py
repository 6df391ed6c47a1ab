"""The family of relations: a potential within each side, a divergence between the sides, under the authors' names.

All take student (N, D) or (G, N, D), teacher with the same rows, and keyword-only:
`anchors` (M, D) or (G, M, D), what both sides compare their rows with (each other when None);
`row_weights` (N,) or (G, N) bool, True where a row counts;
`center`, whether each side's mean embedding is subtracted first (False is the authors' form; a fresh ViT needs True).
They return a scalar, the mean over the groups, and raise ValueError as `make_pairing` does.
"""

import inspect
from typing import Any

import torch
from torch import Tensor

from mrkd.errors import nearest
from mrkd.losses import divergences
from mrkd.losses.divergences import DIVERGENCES, NEEDS_COSINES, NEEDS_DISTANCES, SOFTMAX_ROWS, WITH_DIAGONAL
from mrkd.losses.pairing import make_pairing
from mrkd.losses.potentials import DISTANCES, POTENTIALS, euclidean_distance, relation_matrices


def relation(
    student: Tensor,
    teacher: Tensor,
    *,
    potential: str,
    divergence: str,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = True,
    keep_self: bool | None = None,
    **settings: Any,
) -> Tensor:
    """Any potential with any divergence that makes sense of it.

    Args:
        student: as in the module's description, like teacher, anchors, row_weights and center.
        teacher: the same rows; no gradient flows into them.
        potential: a name from `POTENTIALS`.
        divergence: a name from `DIVERGENCES`.
        anchors: what rows compare with.
        row_weights: rows that count.
        center: subtract the mean embedding first.
        keep_self: whether a row's relation to itself, or to its own anchor, counts; None for the authors' choice.
        settings: the divergence's own, such as `student_temperature`.
    Returns:
        Scalar.
    Raises:
        ValueError: an unknown name or setting, or a divergence that means nothing on this potential.
    """
    check_relation(potential, divergence, settings)
    pairing = make_pairing(student, teacher, anchors, row_weights)
    if keep_self is None:
        keep_self = not pairing.own or divergence in WITH_DIAGONAL
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs = relation_matrices(pairing, POTENTIALS[potential], center=center)
        if divergence in SOFTMAX_ROWS and potential in DISTANCES:
            ours, theirs = -ours, -theirs
        return DIVERGENCES[divergence](ours, theirs, pairing.valid(diagonal=keep_self), **settings)


def check_relation(potential: str, divergence: str, settings: dict[str, Any]) -> None:
    """Refuse an unknown potential, divergence or setting, and pairs that mean nothing, with the reason."""
    if potential not in POTENTIALS:
        raise ValueError(f"unknown potential {potential!r}: {nearest(potential, POTENTIALS)}")
    if divergence not in DIVERGENCES:
        raise ValueError(f"unknown divergence {divergence!r}: {nearest(divergence, DIVERGENCES)}")
    if divergence in NEEDS_DISTANCES and potential not in DISTANCES:
        raise ValueError(f"{divergence} orders distances, got the potential {potential!r}; use {sorted(DISTANCES)}")
    if divergence in NEEDS_COSINES and potential != "cosine":
        raise ValueError(f"{divergence} reads cosines as probabilities, got the potential {potential!r}")
    known = [name for name, _ in _keywords(DIVERGENCES[divergence])]
    for name in settings:
        if name not in known:
            raise ValueError(
                f"{divergence} has no setting {name!r}: {nearest(name, known) if known else 'it has none'}"
            )


def _keywords(function: Any) -> list[tuple[str, inspect.Parameter]]:
    return [item for item in inspect.signature(function).parameters.items() if item[1].kind is item[1].KEYWORD_ONLY]


def spkd(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = False,
) -> Tensor:
    """Similarity-preserving: mean of (G_s / |row| - G_t / |row|)^2 with G the matrix of dot products.

    Source:
        Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019 (arXiv:1907.09682), eq. 1-3.
    """
    return relation(
        student,
        teacher,
        potential="dot",
        divergence="row-normalized-squared",
        anchors=anchors,
        row_weights=row_weights,
        center=center,
    )


def pkt(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = False,
) -> Tensor:
    """Probabilistic knowledge transfer: KL between rows of (1 + cosine) / 2 over their sums, mean over entries.

    Source:
        Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018
        (arXiv:1803.10837), eq. 3-6, with the authors' cosine kernel.
    """
    return relation(
        student,
        teacher,
        potential="cosine",
        divergence="probability-kl",
        anchors=anchors,
        row_weights=row_weights,
        center=center,
    )


def cckd(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = False,
) -> Tensor:
    """Correlation congruence: mean squared difference of RBF kernels exp(-0.4 |x - y|^2) of unit vectors.

    Source:
        Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019 (arXiv:1904.01802), eq. 6-8; the
        kernel itself, of which they take a Taylor series.
    """
    return relation(
        student, teacher, potential="rbf", divergence="squared", anchors=anchors, row_weights=row_weights, center=center
    )


def relation_softmax(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = False,
    keep_self: bool | None = None,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Cross-entropy between softmax rows of cosines; among own rows a row's relation to itself is left out.

    Source:
        Zheng et al., ReSSL, NeurIPS 2021 (arXiv:2107.09282), eq. 1-3, with the batch in place of the queue.
    """
    return relation(
        student,
        teacher,
        potential="cosine",
        divergence="cross-entropy",
        anchors=anchors,
        row_weights=row_weights,
        center=center,
        keep_self=keep_self,
        student_temperature=student_temperature,
        teacher_temperature=teacher_temperature,
    )


def structural(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = True,
    keep_self: bool = True,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
    sinkhorn_iterations: int = 3,
) -> Tensor:
    """iBOT's cross-entropy between rows of softmax similarities, the teacher's balanced like prototypes.

    Row i says how image i relates to each image of the batch; usually the anchors are the teacher's embeddings.

    Source:
        Zhou et al., iBOT, ICLR 2022 (the cross-entropy); Zheng et al., ReSSL, NeurIPS 2021 (similarity rows); Caron et
        al., SwAV, NeurIPS 2020 (the balance).
    """
    return relation(
        student,
        teacher,
        potential="cosine",
        divergence="cross-entropy",
        anchors=anchors,
        row_weights=row_weights,
        center=center,
        keep_self=keep_self,
        student_temperature=student_temperature,
        teacher_temperature=teacher_temperature,
        sinkhorn_iterations=sinkhorn_iterations,
    )


def cka(
    student: Tensor, teacher: Tensor, *, anchors: Tensor | None = None, row_weights: Tensor | None = None
) -> Tensor:
    """1 - linear centred kernel alignment; centring is part of it. In [0, 1].

    Source:
        Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019 (arXiv:1905.00414), eq. 3.
    """
    return relation(student, teacher, potential="dot", divergence="cka", anchors=anchors, row_weights=row_weights)


def gram(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    center: bool = False,
    standardize: bool = False,
) -> Tensor:
    """Mean squared difference of cosines; DINOv3 takes it between the patches of an image.

    Source:
        Siméoni et al., DINOv3, 2025 (arXiv:2508.10104), the Gram anchoring loss, as a mean over entries.
    """
    return relation(
        student,
        teacher,
        potential="cosine",
        divergence="squared",
        anchors=anchors,
        row_weights=row_weights,
        center=center,
        standardize=standardize,
    )


def dark_rank(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    scale_by_mean: bool = False,
    length: int = 4,
    alpha: float = 3.0,
    beta: float = 3.0,
) -> Tensor:
    """HardDarkRank: likelihood of the teacher's order of each row's nearest neighbours, by the student's distances.

    Args:
        student: as in the module's description, like teacher, anchors and row_weights.
        teacher: the same rows.
        anchors: what rows compare with.
        row_weights: rows that count.
        scale_by_mean: divide distances by their mean, for embeddings that are not of unit length.
        length: number of neighbours in the order.
        alpha: a column at distance d scores -alpha d^beta.
        beta: see alpha.
    Source:
        Chen et al., DarkRank, AAAI 2018 (arXiv:1707.01220), eq. 5-7; `HardDarkRank` of Park et al.'s code.
    """
    pairing = make_pairing(student, teacher, anchors, row_weights)
    with torch.autocast(student.device.type, enabled=False):
        potential = (
            POTENTIALS["euclidean"] if scale_by_mean else lambda rows, columns, _: euclidean_distance(rows, columns)
        )
        ours, theirs = relation_matrices(pairing, potential, center=False)
        valid = pairing.valid(diagonal=not pairing.own)
        return divergences.listwise(ours, theirs, valid, length=length, alpha=alpha, beta=beta)
