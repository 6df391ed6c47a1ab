"""The registry of evaluators, in the order of tables. The report opens with the main result of the first one."""

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
