"""`SteadyDial`: proportional-integral control with a model of what it turns.

A tempered term at temperature T asks, to first order, for a change of the policy's entropy of

    a(T) = strength s(T) G (T - 1),    G = mean of D'(1) = sum pi^2 (log pi + H)^2,    s(T) = s(1) exp(-loss (T - 1))

nats per token and step (Theorem C): G is measured at every token, s(T) is the share of completions that are correct at
T. `EntropyObserver` learns what comes of it, and what else pulls. Then the dial asks for what closes a share `speed` of
the distance that what is in flight will not close by itself, holds against the pull, and goes along with the target:

    gain a = speed (target - H - gain a_in_flight) - pull + (target - target before)

The pull is the integral part: it follows any lasting error, and since it is estimated from actuations that were
applied, it does not wind up at a bound. T is what gives `a`, up to the hottest that pays: beyond 1 + 1/loss more
completions are lost than each is worth. What T cannot give, the strength does: a factor on alpha from 1 to
`strength_most`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aepo_rllib.control.dials import Outcome
from aepo_rllib.control.observer import EntropyObserver

UNMEASURED_GAIN = 0.05
"""G as a share of the entropy, for an engine that sees no logits; 0.03-0.19 were seen."""
UNSEEN_SHARE, UNSEEN_LOSS = 0.4, 1.5
"""s(1) before a completion has been judged, and the loss before one was heated."""
MEMORY = 0.1
"""Weight of the newest step in the running means of both."""
LEAST_HEAT = 0.05
"""Heat that tells about the loss."""
LEAST_GAIN = 0.05
"""What is divided by at least: an estimate near 0 would ask for anything."""
WRONG_SIGN = 2.0
"""Standard errors below 0 at which the gain is believed to be negative. They grow while T = 1 shows nothing of
it, so that the dial tries again."""
STOPPED, QUIET = 20, 50
"""Steps at a stop before it is asked how far away the target is, and between two complaints."""
LET_GO = 10
"""Steps at T = 1 that tell a strong pull from heat that cools, where that is in doubt."""

TURNED, SEEN = ("strength", "stop", "_temperature", "_target"), ("_share", "_loss", "_measured_gain", "_waiting")
STATE = (*TURNED, *SEEN, "_stopped", "_quiet", "_let_go")


class SteadyDial:
    """Holds the entropy on its target without sitting below it, and comes to it without passing it.

    Args:
        temperature_low, temperature_high: Bounds of T.
        speed: Share of the remaining distance that a step sets out to close.
        strength_most: Most that alpha is multiplied by where T is at a bound.
        patience: Steps after which the target has to be within reach; a warning says where it is not.
        inertia: See `EntropyObserver`; the config tells it.
        delay: Training steps by which an actuation comes later than in the next step; the config tells it.

    Attributes:
        strength: The factor on alpha of the last turn.
        stop: 1 or -1 where the last turn gave all it had upwards or downwards, else 0.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        temperature_low: float,
        temperature_high: float,
        speed: float = 0.15,
        strength_most: float = 4.0,
        patience: int = 100,
        inertia: float = 0.8,
        delay: int = 0,
    ) -> None:
        if not 0 < speed <= 1:
            raise ValueError(f"speed={speed} must be above 0 and at most 1")
        if not strength_most >= 1:
            raise ValueError(f"strength_most={strength_most} must be at least 1")
        if not temperature_low < 1 < temperature_high:
            raise ValueError(
                f"temperature_low={temperature_low} must be below 1 and temperature_high={temperature_high} above: "
                "this dial cools and heats"
            )
        self.low, self.high, self.speed = temperature_low, temperature_high, speed
        self.strength_most, self.patience = strength_most, patience
        self.observer = EntropyObserver(inertia)
        self.strength, self.stop = 1.0, 0
        self._temperature, self._target = 1.0, math.nan
        self._share, self._loss, self._measured_gain = UNSEEN_SHARE, UNSEEN_LOSS, math.nan
        self._waiting = [0.0] * delay
        self._stopped = self._quiet = self._let_go = 0

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the temperature."""
        return self.low, self.high

    def turn(self, entropy: float, target: float) -> float:
        """The temperature; `strength` goes with it."""
        observer = self.observer
        observer.measure(entropy)
        gain = max(observer.gain, LEAST_GAIN)
        moved = 0.0 if math.isnan(self._target) else target - self._target
        steady = (moved - observer.pull) / gain
        ahead = observer.entropy + gain * observer.in_flight(steady, *self._waiting)
        wanted = steady + self.speed * (target - ahead) / gain
        self._target = target
        self._temperature, self.strength, self.stop = self._setting(wanted / self._authority)
        return self._temperature

    def _setting(self, wanted: float) -> tuple[float, float, int]:
        """Temperature, strength and stop that give so many units of `_authority`, or as many as there are."""
        if self.reversed or self._let_go:
            return 1.0, 1.0, 0
        if wanted < 0:
            offset, most = max(wanted, self.low - 1), self.low - 1
        else:
            offsets = np.linspace(0.0, self.hottest - 1, 64)
            paid = self._paid(offsets)
            offset, most = float(np.interp(wanted, paid, offsets)), float(paid[-1])
        strength = min(max(wanted / most, 1.0), self.strength_most)
        return 1 + offset, strength, int(math.copysign(wanted / most >= self.strength_most, wanted))

    def learn(self, outcome: Outcome) -> list[str]:
        """Take in what the step came to: the shares that were correct, and G.

        Returns:
            What is wrong, in words: the target is out of reach, or heat cools.
        """
        share = outcome.share or 0.0
        if outcome.gain is not None:
            self._measured_gain = outcome.gain
        if outcome.untempered_share is not None:
            self._share += MEMORY * (outcome.untempered_share - self._share)
        if (heat := self._temperature - 1) > LEAST_HEAT:
            loss = -math.log(max(share, 0.01) / max(self._share, 0.01)) / heat
            self._loss += MEMORY * (min(max(loss, 0.0), 10.0) - self._loss)
        self._waiting.append(self.strength * share * self.gain_per_token * heat)
        self.observer.step(self._waiting.pop(0))
        return self._complaints()

    def _complaints(self) -> list[str]:
        same = self._stopped * self.stop > 0
        self._stopped = self._stopped + self.stop if same else self.stop  # steps at one stop, with its sign
        self._quiet, self._let_go = max(self._quiet - 1, 0), max(self._let_go - 1, 0)
        found = [] if self._quiet else [text for text in (self._backwards(), self._out_of_reach()) if text]
        self._quiet = QUIET if found else self._quiet
        if abs(self._stopped) >= STOPPED and self._in_doubt:
            self._stopped, self._let_go = 0, LET_GO
        return found

    @property
    def _in_doubt(self) -> bool:
        """Whether a stop has only led away from the target, and the sign of the gain is not known."""
        observer = self.observer
        return self.stop * (observer.pull + observer.gain * observer.moving) < 0 and observer.gain < observer.gain_error

    def _backwards(self) -> str:
        observer = self.observer
        return self.reversed * (
            f"heat cools: a unit of temperature is seen to change the entropy by {observer.gain:.2g} ± "
            f"{observer.gain_error:.2g} of what Theorem C says, so the dial leaves it at 1; does the tempered term "
            "keep wrong completions, or weigh them by pi / pi^T?"
        )

    def _out_of_reach(self) -> str:
        """A warning where the target is further than `patience` steps at the pace of the stops."""
        low, high = self.reach
        if abs(self._stopped) < STOPPED or low <= self._target <= high:
            return ""
        return (
            f"target_entropy {self._target:.3g} nats/token is out of reach: with all that the dial has, "
            f"{self.patience} steps take the entropy from {self.observer.entropy:.3g} to between {max(low, 0.0):.3g} "
            f"and {high:.3g}; choose a target there, or give it more time or alpha"
        )

    @property
    def reach(self) -> tuple[float, float]:
        """The entropies that `patience` steps at either stop lead to, at the pace of today, in nats per token."""
        unit = max(self.observer.gain, 0.0) * self.strength_most * self._authority
        paces = unit * (self.low - 1), unit * float(self._paid(self.hottest - 1))
        low, high = (self.observer.entropy + self.patience * (pace + self.observer.pull) for pace in paces)
        return low, high

    def _paid(self, heat: Any) -> Any:
        """What heat above 0 gives, in units of `_authority`: a number or an array, as it is."""
        return heat * np.exp(-self._loss * heat)

    @property
    def hottest(self) -> float:
        """The hottest temperature that pays, within the bounds."""
        return min(self.high, 1 + 1 / max(self._loss, 1e-3))

    @property
    def reversed(self) -> bool:
        """Whether heat is seen to cool."""
        return self.observer.gain < -WRONG_SIGN * self.observer.gain_error

    @property
    def gain_per_token(self) -> float:
        """G, in nats."""
        return UNMEASURED_GAIN * self.observer.entropy if math.isnan(self._measured_gain) else self._measured_gain

    @property
    def _authority(self) -> float:
        """s(1) G: actuation per unit of temperature near T = 1."""
        return max(self._share * self.gain_per_token, 1e-9)

    def figures(self) -> dict[str, float]:
        """What is logged beside the temperature."""
        observer, (low, high) = self.observer, self.reach
        return {
            "filtered_entropy": observer.entropy,
            "filter_delay": observer.delay,
            "entropy_noise": observer.noise,
            "pull": observer.pull,
            "gain": observer.gain,
            "gain_error": observer.gain_error,
            "authority": self._authority,
            "hottest_temperature": self.hottest,
            "strength": self.strength,
            "reach_low": low,
            "reach_high": high,
        }

    def get_state(self) -> dict[str, Any]:
        """What `set_state` takes back."""
        return {"observer": self.observer.get_state(), **{name: getattr(self, name) for name in STATE}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.observer.set_state(state["observer"])
        for name in STATE:
            setattr(self, name, copy.copy(state[name]))
