"""REINFORCE on tempered positives alone: what the temperature does to the entropy without GRPO (AEPO's Figure 2).

    grad J = alpha E_{q, o ~ pi_old^T}[ R(q, o) grad log pi(o|q) ]

AEPO's second term by itself, at one temperature: positives drawn at T > 1 raise the entropy, those at T < 1 lower it
(Theorem C in docs/method.md). There is no ratio: correcting for the temperature would take it out again.

Departures: completions at T = 1 are sampled as well, for the same problems, and nothing is learned from them: they
tell entropy and reward as every method's do. `updates_per_batch` stays 2, as in the methods it is compared with,
although a plain gradient is right for the policy that sampled alone.
"""

from __future__ import annotations

from dataclasses import replace

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.aepo_constant import AEPOConstantConfig
from aepo_rllib.objectives.parts import MAIN, Method
from aepo_rllib.support.options import Idle


class ReinforceTemperedConfig(AEPOConstantConfig):
    """`aepo train --algo reinforce_tempered --set temperature=1.2`."""

    tempered_share = 1.0
    IDLE = (Idle(("clip_low", "clip_high", "dual_clip"), "leave it out: there is no ratio to clip"),)

    @override(AEPOConstantConfig)
    def method(self) -> Method:
        """AEPO's without GRPO's term."""
        whole = super().method()
        return replace(whole, terms={name: term for name, term in whole.terms.items() if name != MAIN})
