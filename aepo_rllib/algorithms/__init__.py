"""The algorithms. Importing this registers them with Ray Tune under their names."""

from __future__ import annotations

from ray.tune.registry import register_trainable

from aepo_rllib.algorithms.aepo import AEPO, AEPOConfig
from aepo_rllib.algorithms.aepo_authors import AEPOAuthorsConfig
from aepo_rllib.algorithms.aepo_constant import AEPOConstantConfig
from aepo_rllib.algorithms.aepo_corrected import AEPOCorrectedConfig
from aepo_rllib.algorithms.aepo_signed import AEPOSignedConfig
from aepo_rllib.algorithms.dr_grpo import DrGRPOConfig
from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.algorithms.gspo import GSPOConfig
from aepo_rllib.algorithms.rloo import RLOOConfig
from aepo_rllib.algorithms.scope_rl import ScopeRLConfig
from aepo_rllib.support.plugins import find
from aepo_rllib.training.config import TextRLConfig

__all__ = ["AEPO", "ALGORITHMS", "GRPO", "AEPOAuthorsConfig", "AEPOConfig", "GRPOConfig", "find_config"]

ALGORITHMS: dict[str, type[TextRLConfig]] = {
    "aepo": AEPOConfig,
    "aepo_authors": AEPOAuthorsConfig,
    "grpo": GRPOConfig,
    "dr_grpo": DrGRPOConfig,
    "rloo": RLOOConfig,
    "gspo": GSPOConfig,
    "entropy_reg": EntropyRegConfig,
    "scope_rl": ScopeRLConfig,
    "aepo_constant": AEPOConstantConfig,
    "aepo_signed": AEPOSignedConfig,
    "aepo_corrected": AEPOCorrectedConfig,
}
"""Config classes by command-line name: one line for each method."""
METHODS_GROUP = "aepo_rllib.methods"
"""Entry points of other packages' methods: their config classes."""


def find_config(name: str) -> type[TextRLConfig]:
    """The config class that `--algo` names: one of these, an entry point, `module:Config` or `file.py:Config`.

    Raises:
        ValueError: there is none; names what there is.
    """
    return find("algo", name, ALGORITHMS, METHODS_GROUP, kind="Config", base=TextRLConfig)


for config in ALGORITHMS.values():
    register_trainable(config.Algo.__name__, config.Algo)
