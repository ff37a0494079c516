"""Scores of folders of masks and of image classes against the truth, whoever made them."""

from scantling.evaluation.classes import ClassEvaluation, evaluate_classes
from scantling.evaluation.everything import Everything, evaluate_everything
from scantling.evaluation.folders import evaluate
from scantling.evaluation.registrations import evaluate_registrations
from scantling.evaluation.result import CaseScores, Evaluation
from scantling.evaluation.scores import Scores, scores_of_arrays

__all__ = [
    "CaseScores",
    "ClassEvaluation",
    "Evaluation",
    "Everything",
    "Scores",
    "evaluate",
    "evaluate_classes",
    "evaluate_everything",
    "evaluate_registrations",
    "scores_of_arrays",
]
