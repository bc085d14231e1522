"""The algorithms. Importing this registers them with Ray Tune under their names."""

from ray.tune.registry import register_trainable

from aepo_rllib.algorithms.aepo import AEPO, AEPOConfig
from aepo_rllib.algorithms.aepo_authors import AEPOAuthorsConfig
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig

__all__ = ["AEPO", "ALGORITHMS", "GRPO", "AEPOAuthorsConfig", "AEPOConfig", "GRPOConfig"]

ALGORITHMS = {"grpo": GRPOConfig, "aepo": AEPOConfig, "aepo_authors": AEPOAuthorsConfig}
"""Config classes by command-line name."""

register_trainable("GRPO", GRPO)
register_trainable("AEPO", AEPO)
