"""Evaluation of estimators and models on a set of images, in one pass."""

from distax.evaluation.assessment import assess, evaluate
from distax.evaluation.results import Evaluation, GroupResult, Reliability
from distax.evaluation.sums import EvaluationSums

__all__ = [
    "Evaluation",
    "EvaluationSums",
    "GroupResult",
    "Reliability",
    "assess",
    "evaluate",
]
