"""The algorithms. Importing this registers them with Ray Tune under their names."""

from __future__ import annotations

from ray.tune.registry import register_trainable

from aepo_rllib.algorithms.adaptive_entropy import AdaptiveEntropyConfig
from aepo_rllib.algorithms.aepo import AEPO, AEPOConfig
from aepo_rllib.algorithms.aepo_authors import AEPOAuthorsConfig
from aepo_rllib.algorithms.aepo_constant import AEPOConstantConfig
from aepo_rllib.algorithms.aepo_corrected import AEPOCorrectedConfig
from aepo_rllib.algorithms.aepo_signed import AEPOSignedConfig
from aepo_rllib.algorithms.aepo_steady import AEPOSteadyConfig
from aepo_rllib.algorithms.ce_gppo import CEGPPOConfig
from aepo_rllib.algorithms.cispo import CISPOConfig
from aepo_rllib.algorithms.clip_cov import ClipCovConfig
from aepo_rllib.algorithms.dapo import DAPOConfig
from aepo_rllib.algorithms.dcpo import DCPOConfig
from aepo_rllib.algorithms.dr_grpo import DrGRPOConfig
from aepo_rllib.algorithms.e3 import E3Config
from aepo_rllib.algorithms.eighty_twenty import EightyTwentyConfig
from aepo_rllib.algorithms.entrocraft import EntrocraftConfig
from aepo_rllib.algorithms.entropic import EntroPICConfig
from aepo_rllib.algorithms.entropy_adv import EntropyAdvConfig
from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.algorithms.gpg import GPGConfig
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.algorithms.gspo import GSPOConfig
from aepo_rllib.algorithms.kl_cov import KLCovConfig
from aepo_rllib.algorithms.maxrl import MaxRLConfig
from aepo_rllib.algorithms.opo import OPOConfig
from aepo_rllib.algorithms.pass_at_k import PassAtKConfig
from aepo_rllib.algorithms.pkpo import PKPOConfig
from aepo_rllib.algorithms.qae import QAEConfig
from aepo_rllib.algorithms.reinforce_plus_plus import ReinforcePlusPlusConfig
from aepo_rllib.algorithms.reinforce_tempered import ReinforceTemperedConfig
from aepo_rllib.algorithms.rloo import RLOOConfig
from aepo_rllib.algorithms.sapo import SAPOConfig
from aepo_rllib.algorithms.scope_rl import ScopeRLConfig
from aepo_rllib.algorithms.siren import SIRENConfig
from aepo_rllib.support.plugins import METHODS_GROUP, find
from aepo_rllib.training.config import TextRLConfig

__all__ = ["AEPO", "ALGORITHMS", "GRPO", "AEPOAuthorsConfig", "AEPOConfig", "GRPOConfig", "find_config"]

ALGORITHMS: dict[str, type[TextRLConfig]] = {
    "aepo": AEPOConfig,
    "aepo_steady": AEPOSteadyConfig,
    "aepo_authors": AEPOAuthorsConfig,
    "grpo": GRPOConfig,
    "dr_grpo": DrGRPOConfig,
    "rloo": RLOOConfig,
    "gspo": GSPOConfig,
    "dapo": DAPOConfig,
    "reinforce_plus_plus": ReinforcePlusPlusConfig,
    "cispo": CISPOConfig,
    "sapo": SAPOConfig,
    "maxrl": MaxRLConfig,
    "gpg": GPGConfig,
    "opo": OPOConfig,
    "pass_at_k": PassAtKConfig,
    "pkpo": PKPOConfig,
    "qae": QAEConfig,
    "ce_gppo": CEGPPOConfig,
    "entropy_reg": EntropyRegConfig,
    "adaptive_entropy": AdaptiveEntropyConfig,
    "entropy_adv": EntropyAdvConfig,
    "eighty_twenty": EightyTwentyConfig,
    "clip_cov": ClipCovConfig,
    "kl_cov": KLCovConfig,
    "siren": SIRENConfig,
    "dcpo": DCPOConfig,
    "scope_rl": ScopeRLConfig,
    "entropic": EntroPICConfig,
    "entrocraft": EntrocraftConfig,
    "e3": E3Config,
    "reinforce_tempered": ReinforceTemperedConfig,
    "aepo_constant": AEPOConstantConfig,
    "aepo_signed": AEPOSignedConfig,
    "aepo_corrected": AEPOCorrectedConfig,
}
"""Config classes by command-line name: one line for each method."""


def find_config(name: str) -> type[TextRLConfig]:
    """The config class that `--algo` names: one of these, an entry point, `module:Config` or `file.py:Config`.

    Raises:
        ValueError: there is none; names what there is.
    """
    return find("algo", name, ALGORITHMS, METHODS_GROUP, kind="Config", base=TextRLConfig)


for config in ALGORITHMS.values():
    register_trainable(config.Algo.__name__, config.Algo)
