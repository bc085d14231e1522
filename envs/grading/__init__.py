"""Grading: from a problem and a completion to a verdict."""

from aepo_rllib.envs.grading.answers import extract_answer
from aepo_rllib.envs.grading.expression import check_countdown
from aepo_rllib.envs.grading.service import Grade, Grader, GraderBroken
from aepo_rllib.envs.grading.verifiers import VERIFIERS, get_verifier

__all__ = ["VERIFIERS", "Grade", "Grader", "GraderBroken", "check_countdown", "extract_answer", "get_verifier"]
