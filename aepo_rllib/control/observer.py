"""`EntropyObserver`: what a run has shown of its entropy, of what pulls at it, and of what the actuator does to it.

    H' = H + gain m + pull,    m' = inertia m + (1 - inertia) a,    measured = H + noise

`a` is the actuation that a step applied: to first order the change of entropy that its tempered term asks for, see
`steady.SteadyDial`. Adam's first moment hands it on over the next steps, which `m` follows; how is known, not
estimated. The pull, GRPO's above all, and the gain are not known, and change slowly. All is linear in the three
unknowns, so a Kalman filter has them all. Nothing winds up in it: what it is told is the actuation that was applied,
not the one that was wished.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

GAIN = 0.6
"""Prior of the gain: the share of entropy that success does not pin down, times how far a step goes; 0.5-0.95 were seen
in training."""
GAIN_ERROR = 0.6
"""Standard deviation of that prior."""
NOISE = 0.023
"""Prior of the noise of a batch's entropy: its standard deviation, as a share of the first entropy."""
NOISE_MEMORY = 0.05
"""Weight of the newest step in the running estimate of the noise."""
DRIFT = (0.002, 0.0002, 0.02)
"""Standard deviations of what a step adds to entropy, pull (as shares of the first entropy) and gain."""
PULL_ERROR = 0.003
"""Standard deviation of the first guess of the pull, 0, as a share of the first entropy."""
ENTROPY, PULL, GAIN_PLACE = 0, 1, 2


class EntropyObserver:
    """Estimates entropy and pull (nats, nats a step) and gain (1), and foresees the entropy.

    Args:
        inertia: Share of an actuation's effect that a step leaves to later ones; Adam's beta1 to the power of the
            optimizer steps of a batch.

    Attributes:
        moving: m, the actuation that the next step works with.
    """

    def __init__(self, inertia: float) -> None:
        self.inertia = inertia
        self.moving = 0.0
        self._mean_3 = np.zeros(3)
        self._covariance_33 = np.zeros((3, 3))
        self._scale = 0.0
        """The first entropy: what the priors are shares of."""
        self._noise = 0.0
        self._latest: list[float] = []

    @property
    def started(self) -> bool:
        """Whether an entropy has been measured."""
        return self._scale > 0

    @property
    def entropy(self) -> float:
        """The filtered entropy, in nats per token. It lags by `delay` steps behind what could not be foreseen."""
        return float(self._mean_3[ENTROPY])

    @property
    def pull(self) -> float:
        """What a step changes without actuation, in nats per token."""
        return float(self._mean_3[PULL])

    @property
    def gain(self) -> float:
        """Change of entropy per actuation."""
        return float(self._mean_3[GAIN_PLACE])

    @property
    def gain_error(self) -> float:
        """Its standard error."""
        return float(self._covariance_33[GAIN_PLACE, GAIN_PLACE] ** 0.5)

    @property
    def noise(self) -> float:
        """Standard deviation of a measurement, in nats per token."""
        return self._noise

    @property
    def delay(self) -> float:
        """Steps that a change nobody could foresee takes to be believed: one over the weight of a measurement."""
        variance = self._covariance_33[ENTROPY, ENTROPY]
        return float((variance + self._noise**2) / variance) if variance else 0.0

    def measure(self, entropy: float) -> None:
        """Take in a batch's entropy, in nats per token."""
        if not self.started:
            self._start(max(entropy, 1e-6))
        self._follow_noise(entropy)
        weight_3 = self._covariance_33[ENTROPY] / (self._covariance_33[ENTROPY, ENTROPY] + self._noise**2)
        self._mean_3 = self._mean_3 + weight_3 * (entropy - self.entropy)
        self._covariance_33 = self._covariance_33 - np.outer(weight_3, self._covariance_33[ENTROPY])

    def step(self, actuation: float) -> None:
        """A training step has been taken, with this actuation."""
        self.moving = self.inertia * self.moving + (1 - self.inertia) * actuation
        change_33 = np.array([[1.0, 1.0, self.moving], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        self._mean_3 = change_33 @ self._mean_3
        drift_3 = np.array(DRIFT) * (self._scale, self._scale, GAIN)
        self._covariance_33 = change_33 @ self._covariance_33 @ change_33.T + np.diag(drift_3**2)

    def in_flight(self, steady: float, *waiting: float) -> float:
        """Actuations beyond the steady one that have been applied, and whose effect is still to come, summed up."""
        moving = self.inertia / (1 - self.inertia) * (self.moving - steady)
        return moving + sum(actuation - steady for actuation in waiting)

    def get_state(self) -> dict[str, Any]:
        """What `set_state` takes back."""
        return {
            "moving": self.moving,
            "mean": self._mean_3.tolist(),
            "covariance": self._covariance_33.tolist(),
            "scale": self._scale,
            "noise": self._noise,
            "latest": list(self._latest),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.moving, self._scale, self._noise = state["moving"], state["scale"], state["noise"]
        self._mean_3, self._covariance_33 = np.array(state["mean"]), np.array(state["covariance"])
        self._latest = list(state["latest"])

    def _start(self, entropy: float) -> None:
        self._scale, self._noise = entropy, NOISE * entropy
        self._mean_3 = np.array([entropy, 0.0, GAIN])
        self._covariance_33 = np.diag(np.array([self._noise, PULL_ERROR * entropy, GAIN_ERROR]) ** 2)

    def _follow_noise(self, entropy: float) -> None:
        """A running mean of squared second differences: steady change adds nothing, white noise 6 variances."""
        self._latest = [*self._latest, entropy][-3:]
        if len(self._latest) == 3:
            first, second, third = self._latest
            seen = (first - 2 * second + third) ** 2 / 6
            self._noise = float(np.sqrt((1 - NOISE_MEMORY) * self._noise**2 + NOISE_MEMORY * seen))
