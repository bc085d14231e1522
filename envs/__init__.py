"""Maths problems as gymnasium text environments: problem sets, prompt templates and verifiers.

Importing this package registers `aepo/MathText-v0` with gymnasium. It needs neither torch nor ray.
"""

import gymnasium

from aepo_rllib.envs.problems import Problem, ProblemError, ProblemSet, load_problems
from aepo_rllib.envs.prompts import TEMPLATES, PromptTemplate, get_template
from aepo_rllib.envs.spaces import AnyText
from aepo_rllib.envs.text_env import ENV_ID, MathTextEnv, MathTextVectorEnv
from aepo_rllib.envs.verdict import Verdict

__all__ = [
    "ENV_ID",
    "TEMPLATES",
    "AnyText",
    "MathTextEnv",
    "MathTextVectorEnv",
    "Problem",
    "ProblemError",
    "ProblemSet",
    "PromptTemplate",
    "Verdict",
    "get_template",
    "load_problems",
]

if ENV_ID not in gymnasium.registry:
    gymnasium.register(
        ENV_ID,
        entry_point="aepo_rllib.envs.text_env:MathTextEnv",
        vector_entry_point="aepo_rllib.envs.text_env:MathTextVectorEnv",
    )
