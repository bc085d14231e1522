"""Problem sets: procedural arithmetic, JSON Lines files, directories and Hugging Face datasets."""

from aepo_rllib.envs.problems.arithmetic import arithmetic_problems
from aepo_rllib.envs.problems.problem import Problem, ProblemError, ProblemSet
from aepo_rllib.envs.problems.sources import is_procedural, load_problems

__all__ = ["Problem", "ProblemError", "ProblemSet", "arithmetic_problems", "is_procedural", "load_problems"]
