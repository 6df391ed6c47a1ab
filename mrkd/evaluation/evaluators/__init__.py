"""The registry of evaluators, in the order in which tables show them; the first one's main figure heads the report."""

from mrkd.evaluation.evaluator import Evaluator
from mrkd.evaluation.evaluators import cluster_head, finetune, health, kmeans, knn, linear, linear_sgd

EVALUATORS: tuple[Evaluator, ...] = (
    knn.EVALUATOR,
    linear.EVALUATOR,
    linear_sgd.EVALUATOR,
    finetune.EVALUATOR,
    kmeans.EVALUATOR,
    cluster_head.EVALUATOR,
    health.EVALUATOR,
)
