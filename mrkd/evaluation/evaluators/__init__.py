"""The registry of evaluators, in the order of tables. The report opens with the main result of the first one."""

from collections.abc import Sequence

from mrkd.errors import UserError, nearest
from mrkd.evaluation.evaluator import Evaluator
from mrkd.evaluation.evaluators import (
    cluster_head,
    corruptions,
    few_shot,
    finetune,
    health,
    kmeans,
    knn,
    lidar,
    linear,
    linear_sgd,
    patches,
    relations,
    retrieval,
)

EVALUATORS: tuple[Evaluator, ...] = (
    knn.EVALUATOR,
    linear.EVALUATOR,
    linear_sgd.EVALUATOR,
    few_shot.EVALUATOR,
    retrieval.EVALUATOR,
    finetune.EVALUATOR,
    kmeans.EVALUATOR,
    cluster_head.EVALUATOR,
    corruptions.EVALUATOR,
    patches.EVALUATOR,
    health.EVALUATOR,
    lidar.EVALUATOR,
    relations.EVALUATOR,
)


def wanted(more: Sequence[str]) -> tuple[Evaluator, ...]:
    """The evaluators that are always measured, and the optional ones that `evaluation.more` names.

    Raises:
        UserError: a name is not that of an optional evaluator.
    """
    optional = {evaluator.name for evaluator in EVALUATORS if evaluator.optional}
    always = {evaluator.name for evaluator in EVALUATORS} - optional
    for name in more:
        if name in always:
            raise UserError(f"evaluation.more names {name!r}, which is always measured: leave it out")
        if name not in optional:
            raise UserError(f"unknown measurement {name!r} in evaluation.more: {nearest(name, optional)}")
    return tuple(evaluator for evaluator in EVALUATORS if evaluator.name in always or evaluator.name in more)
