"""Measure what was learnt; labels are used here and nowhere else."""

from mrkd.evaluation.protocols import evaluate

__all__ = ["evaluate"]
