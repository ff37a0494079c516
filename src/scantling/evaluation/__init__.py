"""Scores of folders of masks against the truth, whoever made them."""

from scantling.evaluation.folders import evaluate
from scantling.evaluation.registrations import evaluate_registrations
from scantling.evaluation.result import CaseScores, Evaluation
from scantling.evaluation.scores import Scores, scores_of_arrays

__all__ = ["CaseScores", "Evaluation", "Scores", "evaluate", "evaluate_registrations", "scores_of_arrays"]
