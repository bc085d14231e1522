"""Problem sets: procedural arithmetic, files, saved datasets and those of the Hugging Face hub."""

from aepo_rllib.envs.problems.arithmetic import arithmetic_problems
from aepo_rllib.envs.problems.bounded_files import DATA_DIR_VARIABLE, find_file
from aepo_rllib.envs.problems.families import Family
from aepo_rllib.envs.problems.mixes import absolute_source
from aepo_rllib.envs.problems.problem import Problem, ProblemError, ProblemSet
from aepo_rllib.envs.problems.sources import check_source, is_procedural, load_problems
from aepo_rllib.envs.problems.written import write_problems

__all__ = [
    "DATA_DIR_VARIABLE",
    "Family",
    "Problem",
    "ProblemError",
    "ProblemSet",
    "absolute_source",
    "arithmetic_problems",
    "check_source",
    "find_file",
    "is_procedural",
    "load_problems",
    "write_problems",
]
