"""Select the tensors of a step that a term compares.

Axes: V views, B images, N patches, M patch tokens through the head, D embedding, G groups, R relation size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mrkd.config import Term
from mrkd.losses.queue import EmbeddingQueue
from mrkd.objective.tokens import StepOutputs, ViewTokens


@dataclass(frozen=True, kw_only=True)
class RelationBatch:
    """The inputs of a relational loss, for all pairs of views at once."""

    student: Tensor
    """(G, R, D)."""
    teacher: Tensor
    """(G, R, D), no gradient; another D than the student's where a frozen teacher has another width."""
    anchors: Tensor | None
    """(G, M, D), no gradient."""
    row_weights: Tensor | None
    """(G, R) bool, True where a row counts."""


def view_pairs(teacher_views: int, student_views: int, *, same_view: bool = False) -> list[tuple[int, int]]:
    """Pairs (teacher view, student view) of different views, or of the same view with `same_view`.

    The same view of a network and of its average would agree by construction.
    """
    return [(q, v) for q in range(teacher_views) for v in range(student_views) if (v == q) == same_view]


def cls_tokens(tokens: ViewTokens, term: Term) -> Tensor:
    """Class tokens (V, B, D) in the term's space."""
    if term.block is not None:
        return tokens.blocks[term.block][:, :, 0].float()
    selected = {
        "backbone": tokens.cls_backbone,
        "projection": tokens.cls_projection,
        "bottleneck": tokens.cls_bottleneck,
        "logits": tokens.cls_logits,
    }[term.space]
    assert selected is not None, f"the head did not run, but a term asks for {term.space}"
    return selected.float()


def student_cls_tokens(step: StepOutputs, term: Term) -> Tensor:
    """The student's class tokens (V, B, D), local crops after the global views."""
    tokens = cls_tokens(step.student, term)
    if step.student_local is None:
        return tokens
    return torch.cat([tokens, cls_tokens(step.student_local, term)])


def target_cls_tokens(step: StepOutputs, term: Term) -> Tensor:
    """The target's class tokens (V, B, D): in the term's space, or a frozen teacher's embeddings, its only space."""
    return cls_tokens(step.target, term) if step.frozen is None else step.frozen.cls_backbone.float()


def target_patch_tokens(step: StepOutputs, term: Term) -> Tensor:
    """The target's patches (V, B, N, D), as `target_cls_tokens` has it."""
    if step.frozen is None:
        return patch_tokens(step.target, step, term)
    assert step.frozen.patch_backbone is not None, "a term asks for the frozen teacher's patches"
    return step.frozen.patch_backbone.float()


def patch_tokens(tokens: ViewTokens, step: StepOutputs, term: Term) -> Tensor:
    """Patch tokens (V, B, N, D) in the term's space."""
    if term.block is not None:
        return tokens.blocks[term.block][:, :, 1:].float()
    if term.space == "backbone":
        assert tokens.patch_backbone is not None, "a term asks for all patches, but they were not computed"
        return tokens.patch_backbone.float()
    selected = {
        "projection": tokens.patch_projection,
        "bottleneck": tokens.patch_bottleneck,
        "logits": tokens.patch_logits,
    }[term.space]
    assert selected is not None, f"the head did not run on patches, but a term asks for {term.space}"
    return selected.float().unflatten(0, tuple(step.patch_mask.shape))


def relation_batch(step: StepOutputs, term: Term, queue: EmbeddingQueue | None = None) -> RelationBatch:
    """The embeddings whose relations a term compares.

    Class tokens: a group is a pair of a teacher view and a different student view (the same view if the step says so);
    its rows are the images. Patches: the student's masked view is compared with the teacher's full view. A group is a
    position (its rows are the images) or an image (its rows are the patches). With anchors `queue`, the anchors of a
    group are the teacher's rows and the embeddings in `queue`.
    """
    if term.tokens == "cls":
        student_views, teacher_views = student_cls_tokens(step, term), target_cls_tokens(step, term)
        pairs = view_pairs(len(teacher_views), len(student_views), same_view=step.same_view)
        student = torch.stack([student_views[v] for _, v in pairs])
        teacher = torch.stack([teacher_views[q] for q, _ in pairs])
        mask = None
    else:
        student, teacher = patch_tokens(step.student, step, term), target_patch_tokens(step, term)
        mask = step.patch_mask if term.rows == "masked" else None
        if term.tokens == "patch-position":  # (V, B, N, D) -> (V, N, B, D)
            student, teacher = student.transpose(1, 2), teacher.transpose(1, 2)
            mask = None if mask is None else mask.transpose(1, 2)
        student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
        mask = None if mask is None else mask.flatten(0, 1)
    anchors = None if term.anchors == "own" else teacher
    if term.anchors == "queue":
        assert queue is not None, "a term asks for a queue, and there is none"
        # (Q, D) -> (G, B + Q, D)
        anchors = torch.cat([teacher, queue.embeddings.expand(len(teacher), -1, -1)], dim=1)
    return RelationBatch(student=student, teacher=teacher, anchors=anchors, row_weights=mask)
