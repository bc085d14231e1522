"""AEPO with a dial that knows what it turns: the same loss, another rule for T.

    T, strength: what the tempered term needs to close 15 % of the distance to H_target and to hold against the pull
    J = J_GRPO + strength alpha E_{o ~ pi_old^T}[ R log pi ],    strength = 1 where a T within the bounds is enough

The rule is `control.steady.SteadyDial`; any method with AEPO's options takes it (`controller="steady"`).

Departures from the paper: the rule, and the bounds of T, 0.5 to 1.6 (0.8 and 1.2 there). Within them it moves the
entropy twice as fast, and holds targets that two levels cannot (docs/steady.md).
"""

from __future__ import annotations

from aepo_rllib.algorithms.aepo import AEPOConfig


class AEPOSteadyConfig(AEPOConfig):
    """`aepo train --algo aepo_steady --set target_entropy=1.0x`."""

    controller = "steady"
    temperature_low, temperature_high = 0.5, 1.6
    target_entropy = "1.0x"  # which the switch cannot hold
