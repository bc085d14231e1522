"""Grading: from a problem and a completion to a verdict and a reward."""

from aepo_rllib.envs.completion import SampledText
from aepo_rllib.envs.grading.answers import FORMS, extract_answer
from aepo_rllib.envs.grading.countdown import check_countdown
from aepo_rllib.envs.grading.rewards import Score
from aepo_rllib.envs.grading.service import Grade, Grader, GraderBroken
from aepo_rllib.envs.grading.verifiers import VERIFIERS, check_form, get_verifier
from aepo_rllib.envs.prompts import DEFAULT_FORM

RULES_VERSION = 2
"""Of what counts as equal, see docs/grading.md: verdicts of different versions are not to be compared."""

__all__ = [
    "DEFAULT_FORM",
    "FORMS",
    "RULES_VERSION",
    "VERIFIERS",
    "Grade",
    "Grader",
    "GraderBroken",
    "SampledText",
    "Score",
    "check_countdown",
    "check_form",
    "extract_answer",
    "get_verifier",
]
