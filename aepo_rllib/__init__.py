"""AEPO for Ray RLlib.

Importing this package is cheap: torch and ray load when an algorithm is first touched. Touching one also
registers all of them with Ray Tune, so that `tune.Tuner("AEPO", ...)` finds them by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aepo_rllib._version import __version__

if TYPE_CHECKING:
    from aepo_rllib.algorithms import AEPO, GRPO, AEPOAuthorsConfig, AEPOConfig, GRPOConfig
    from aepo_rllib.training.reporter import tune_reporter

__all__ = ["AEPO", "GRPO", "AEPOAuthorsConfig", "AEPOConfig", "GRPOConfig", "__version__", "tune_reporter"]


def __getattr__(name: str) -> Any:
    if name == "tune_reporter":
        from aepo_rllib.training.reporter import tune_reporter

        return tune_reporter
    if name in __all__:
        from aepo_rllib import algorithms

        return getattr(algorithms, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
