"""Problem sets: procedural arithmetic, JSON Lines files, directories and Hugging Face datasets."""

from aepo_rllib.envs.problems.arithmetic import arithmetic_problems
from aepo_rllib.envs.problems.problem import Problem, ProblemError, ProblemSet
from aepo_rllib.envs.problems.sources import DATA_DIR_VARIABLE, find_file, is_procedural, load_problems

__all__ = [
    "DATA_DIR_VARIABLE",
    "Problem",
    "ProblemError",
    "ProblemSet",
    "arithmetic_problems",
    "find_file",
    "is_procedural",
    "load_problems",
]
