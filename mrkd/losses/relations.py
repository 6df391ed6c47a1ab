"""Relational losses: a potential (distance or similarity) within student and teacher, a divergence between both.

`relation` combines any two; the other functions are published losses under their authors' names. All take student
(N, D) or (G, N, D), teacher with the same number of rows, and these keyword-only arguments:
`anchors` (M, D) or (G, M, D): embeddings that both sides compare their rows with; None compares rows with each other.
`row_weights` (N,) or (G, N) bool: True where a row counts.
`center`: subtract each side's mean embedding first. False is the authors' form; an untrained ViT needs True.
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
    """Any potential with any divergence that is defined on it.

    Args:
        student: (N, D) or (G, N, D) embeddings.
        teacher: as many rows; no gradient flows into them.
        potential: a name from `POTENTIALS`.
        divergence: a name from `DIVERGENCES`.
        anchors: (M, D) or (G, M, D) embeddings to compare rows with; None compares rows with each other.
        row_weights: (N,) or (G, N) bool, True where a row counts.
        center: subtract each side's mean embedding first.
        keep_self: include the relation of a row to itself, or to the anchor of its number; None for the authors'
            choice.
        settings: the divergence's own options, such as `student_temperature`.
    Returns:
        Scalar.
    Raises:
        ValueError: an unknown name or setting, or a divergence that is not defined on this potential.
    """
    check_relation(potential, divergence, settings)
    pairing = make_pairing(student, teacher, anchors, row_weights)
    if keep_self is None:
        keep_self = not pairing.columns_are_rows or divergence in WITH_DIAGONAL
    with torch.autocast(student.device.type, enabled=False):
        student_relations, teacher_relations = relation_matrices(pairing, POTENTIALS[potential], center=center)
        if divergence in SOFTMAX_ROWS and potential in DISTANCES:
            student_relations, teacher_relations = -student_relations, -teacher_relations
        return DIVERGENCES[divergence](
            student_relations, teacher_relations, pairing.valid(diagonal=keep_self), **settings
        )


def check_relation(potential: str, divergence: str, settings: dict[str, Any]) -> None:
    """Raise ValueError for an unknown name or setting, or for a divergence that is not defined on the potential."""
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
    """SPKD: mean squared difference of the dot-product matrices, each row scaled to unit length.

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
    """PKT: KL between rows of (1 + cosine) / 2, each row divided by its sum; mean over entries.

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
    """CCKD: mean squared difference of RBF kernels exp(-0.4 |x - y|^2) of unit vectors.

    Source:
        Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019 (arXiv:1904.01802), eq. 6-8; the
        exact kernel, where the authors use its Taylor series.
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
    """Cross-entropy between softmax rows of cosines; without anchors, a row's cosine with itself is left out.

    With a queue of teacher embeddings as anchors this is ReSSL's loss. ReSSL also has a weak view for the teacher and
    a predictor, so the method of this name is not ReSSL.

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
    """iBOT's cross-entropy, with the batch in place of prototypes; Sinkhorn-Knopp balances the teacher's rows.

    Row i is the softmax of the similarities of image i to each image of the batch. The anchors are usually the
    teacher's embeddings.

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
    """1 - linear centred kernel alignment, in [0, 1]. Always centres.

    Source:
        Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019 (arXiv:1905.00414), eq. 4.
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
    """Gram loss: mean squared difference of cosines, in DINOv3 between the patches of an image.

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
    """HardDarkRank: negative log-likelihood, by the student's distances, of the teacher's order of nearest neighbours.

    Args:
        student: (N, D) or (G, N, D) embeddings.
        teacher: as many rows; no gradient flows into them.
        anchors: (M, D) or (G, M, D) embeddings to compare rows with; None compares rows with each other.
        row_weights: (N,) or (G, N) bool, True where a row counts.
        scale_by_mean: divide distances by their mean, for embeddings that are not of unit length.
        length: number of neighbours in the order.
        alpha: a column at distance d has the score -alpha d^beta.
        beta: see alpha.
    Source:
        Chen et al., DarkRank, AAAI 2018 (arXiv:1707.01220), eq. 5-7; `HardDarkRank` of Park et al.'s code.
    """
    pairing = make_pairing(student, teacher, anchors, row_weights)
    with torch.autocast(student.device.type, enabled=False):
        potential = (
            POTENTIALS["euclidean"] if scale_by_mean else lambda rows, columns, _: euclidean_distance(rows, columns)
        )
        student_relations, teacher_relations = relation_matrices(pairing, potential, center=False)
        valid = pairing.valid(diagonal=not pairing.columns_are_rows)
        return divergences.listwise(student_relations, teacher_relations, valid, length=length, alpha=alpha, beta=beta)
