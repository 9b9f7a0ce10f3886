"""Evaluation of estimators and models on a set of images, in one pass."""

from distax.evaluation.assessment import assess, evaluate
from distax.evaluation.results import Evaluation, GroupResult, Reliability
from distax.evaluation.sequence_results import SequenceEvaluation, SequenceProtocol
from distax.evaluation.sequences import assess_sequences, evaluate_sequences
from distax.evaluation.sums import EvaluationSums

__all__ = [
    "Evaluation",
    "EvaluationSums",
    "GroupResult",
    "Reliability",
    "SequenceEvaluation",
    "SequenceProtocol",
    "assess",
    "assess_sequences",
    "evaluate",
    "evaluate_sequences",
]
