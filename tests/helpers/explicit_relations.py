"""The relations written out with N x N x D and N x N x N tensors, as the formulas read."""

import torch
import torch.nn.functional as F
from torch import Tensor


def _weights(student: Tensor, row_weights: Tensor | None, anchors: Tensor | None) -> tuple[Tensor, Tensor]:
    rows = torch.ones(len(student), dtype=student.dtype) if row_weights is None else row_weights.to(student.dtype)
    rows = rows / rows.sum()
    return rows, rows if anchors is None else torch.full((len(anchors),), 1.0 / len(anchors), dtype=student.dtype)


def _deviation(values: Tensor, weights: Tensor) -> Tensor:
    mean = (weights * values).sum() / weights.sum()
    return ((weights * (values - mean).square()).sum() / weights.sum()).sqrt()


def explicit_angle(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    standardize: bool = False,
    huber_delta: float = 1.0,
    vertices: Tensor | None = None,
) -> Tensor:
    def edges(rows: Tensor) -> Tensor:
        return (rows if anchors is None else anchors)[None] - rows[:, None]  # (N, M, D), vertex first

    def cosines(rows: Tensor) -> Tensor:
        unit = F.normalize(edges(rows), dim=2)
        return unit @ unit.transpose(1, 2)

    rows, ends = _weights(student, row_weights, anchors)
    weights = rows[:, None, None] * ends[None, :, None] * ends[None, None, :]
    target, scale = cosines(teacher.detach()), 1.0
    if standardize:
        present = (edges(teacher).norm(dim=2) > 0).to(rows.dtype)
        chosen = weights * present[:, :, None] * present[:, None, :] * (1 - torch.eye(len(ends), dtype=rows.dtype))
        scale = 1.0 / _deviation(target, chosen)
    entries = weights * F.huber_loss(scale * cosines(student), scale * target, reduction="none", delta=huber_delta)
    if vertices is not None:
        return entries[vertices].sum() * len(student) / len(vertices)
    return entries.sum()


def explicit_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    anchors: Tensor | None = None,
    row_weights: Tensor | None = None,
    standardize: bool = False,
    huber_delta: float = 1.0,
) -> Tensor:
    rows, ends = _weights(student, row_weights, anchors)
    weights = rows[:, None] * ends

    def normalized(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        difference = (embeddings if anchors is None else anchors)[None] - embeddings[:, None]
        squared = difference.square().sum(dim=2)
        positive = squared > 0
        distance = torch.where(positive, squared, 1.0).sqrt() * positive
        pairs = weights if anchors is not None else weights * (1 - torch.eye(len(embeddings), dtype=weights.dtype))
        return distance * pairs.sum() / (weights * distance).sum(), pairs

    target, chosen = normalized(teacher.detach())
    scale = 1.0 / _deviation(target, chosen) if standardize else 1.0
    return (
        weights * F.huber_loss(scale * normalized(student)[0], scale * target, reduction="none", delta=huber_delta)
    ).sum()
